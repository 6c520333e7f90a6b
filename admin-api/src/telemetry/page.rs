//! What is looked up for each reading of the operators' page.

use super::Metrics;
use crate::repo::books::count_dead_letters;
use crate::repo::db::Pool;
use crate::service::Admin;
use crate::service::health::Health;
use async_trait::async_trait;
use shared::ports::{Backlog, MetricsPart, UsageSource};
use std::sync::Arc;
use std::time::Duration;
use tokio::time::timeout;

/// The control plane's part of the operators' page.
pub struct Page {
    admin: Admin,
    usage: Arc<dyn UsageSource>,
    metrics: Arc<Metrics>,
}

impl Page {
    /// Tells of this control plane.
    #[must_use]
    pub fn new(admin: Admin, usage: Arc<dyn UsageSource>, metrics: Arc<Metrics>) -> Self {
        Self { admin, usage, metrics }
    }

    /// Whose page it is.
    #[must_use]
    pub fn admin(&self) -> &Admin {
        &self.admin
    }
}

#[async_trait]
impl MetricsPart for Page {
    async fn text(&self) -> String {
        let counting =
            self.admin.run(|admin| async move { Ok(count_dead_letters(admin.db().reader()).await?) });
        let (health, dead_letters, backlog) =
            tokio::join!(Health::of(&self.admin), timeout(LOOK_DEADLINE, counting), self.usage.backlog());
        let dead_letters = dead_letters.ok().and_then(Result::ok);
        let pools = self.admin.db().pools();
        self.metrics.show(&Seen { health, pools, backlog: backlog.ok(), dead_letters });
        self.metrics.text()
    }
}

/// What is looked up for a reading.
pub(super) struct Seen {
    pub health: Health,
    pub pools: Vec<Pool>,
    pub backlog: Option<Backlog>,
    pub dead_letters: Option<u64>,
}

/// How long a reading waits for the database.
const LOOK_DEADLINE: Duration = Duration::from_secs(1);
