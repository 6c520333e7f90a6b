//! Who serves, how far the newest configuration has come, and what runs.

use super::Admin;
use crate::error::Error;
use crate::repo::revision;
use shared::contract::node::{NodeBeat, NodeKind};
use shared::ids::Revision;
use shared::rules::in_flight::{Shown, Wanted, shown};

/// The nodes that are there, against the database.
#[derive(Clone, Debug)]
pub struct NodesNow {
    /// The newest committed revision.
    pub revision: Revision,
    /// The newest one known to be published.
    pub published: Option<Revision>,
    /// The last beat of each node, in the order of their ids: that of their starts.
    pub nodes: Vec<NodeBeat>,
}

impl NodesNow {
    /// How many nodes serve by the newest revision. One that is ahead was told by a faster admin-api.
    #[must_use]
    pub fn up_to_date(&self) -> usize {
        self.nodes.iter().filter(|node| node.revision >= Some(self.revision)).count()
    }
}

/// The nodes now.
pub async fn now(admin: Admin) -> Result<NodesNow, Error> {
    let mut nodes = admin.nodes().nodes().await.map_err(Error::Nodes)?;
    nodes.retain(|node| node.kind != NodeKind::Left);
    let revision = revision::newest(admin.db().reader()).await?;
    Ok(NodesNow { revision, published: admin.published(), nodes })
}

/// The requests that run on them.
pub async fn in_flight(admin: Admin, wanted: Wanted) -> Result<Shown, Error> {
    let nodes = admin.nodes().in_flight().await.map_err(Error::Nodes)?;
    Ok(shown(nodes, &wanted, SHOWN_AT_MOST))
}

/// What one answer lists of what runs; some 300 KB.
const SHOWN_AT_MOST: usize = 1_000;
