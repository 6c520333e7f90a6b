//! Whether the control plane can do its work.

use super::Admin;
use crate::repo::revision;
use shared::ids::Revision;
use std::time::Duration;

/// What works.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Health {
    /// The newest configuration in the database; `None`: the database does not answer.
    pub newest: Option<Revision>,
    /// The newest one that is known to be published.
    pub published: Option<Revision>,
}

impl Health {
    /// Asks the database, within a second.
    pub async fn of(admin: &Admin) -> Self {
        let reading = admin.run(|admin| async move { Ok(revision::newest(admin.db().reader()).await?) });
        let newest = match tokio::time::timeout(DEADLINE, reading).await {
            Ok(Ok(newest)) => Some(newest),
            Ok(Err(_)) | Err(_) => None,
        };
        Self { newest, published: admin.published() }
    }

    /// True when the newest configuration is published.
    #[must_use]
    pub fn is_published(self) -> bool {
        self.newest.is_some() && self.published >= self.newest
    }
}

const DEADLINE: Duration = Duration::from_secs(1);
