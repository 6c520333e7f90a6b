//! What runs beside the requests: following the configuration, keeping it on disk, the usage journal, breakers, probes,
//! budgets, sessions, responses, the heartbeat.

use crate::budgets;
use crate::circuits;
use crate::circuits::prober::{self, Probing};
use crate::heartbeat;
use crate::hub::Hub;
use crate::journal::farewell::let_go;
use crate::journal::keeper;
use crate::journal::ship::Shipper;
use crate::live::Follower;
use crate::live::disk::{Disk, keep};
use crate::responses;
use crate::sessions::{self, Word};
use shared::contract::breaker::Report;
use shared::ports::{ConfigFeed, NodeRegistry, UsageStream};
use shared::secret::HubKey;
use std::path::PathBuf;
use std::sync::Arc;
use tokio::sync::{mpsc, watch};
use tokio_util::task::TaskTracker;

/// What it needs.
pub struct Background {
    /// Where the published configuration comes from.
    pub feed: Arc<dyn ConfigFeed>,
    /// Where usage goes.
    pub usage: Arc<dyn UsageStream>,
    /// Who is told that this node is there.
    pub nodes: Arc<dyn NodeRegistry>,
    /// What attempts came to, for the breakers.
    pub reports: mpsc::Receiver<Report>,
    /// What can wait, for the sessions.
    pub words: mpsc::Receiver<Word>,
    /// Opens the sealed provider secrets.
    pub hub_key: Arc<HubKey>,
    /// How providers with open breakers are probed; `None`: not at all.
    pub probing: Option<Probing>,
    /// Where the last configuration is kept.
    pub snapshot_file: Option<PathBuf>,
}

/// When it changes its tune.
#[derive(Clone)]
pub struct Stages {
    /// True from the moment the stop is asked for.
    pub is_draining: watch::Receiver<bool>,
    /// True when everything may go.
    pub is_over: watch::Receiver<bool>,
}

/// Starts it. A kept configuration is in force when this returns.
pub fn spawn(background: Background, hub: &Arc<Hub>, stages: &Stages, tasks: &TaskTracker) {
    let Background { feed, usage, nodes, reports, words, hub_key, probing, snapshot_file } = background;
    let follower = Follower::new(feed, hub_key, hub.live.clone());
    if let Some(path) = snapshot_file {
        let disk = Disk::new(path);
        follower.start_from(&disk);
        tasks.spawn(keep(disk, hub.live.clone(), stages.is_over.clone()));
    }
    let Stages { is_draining, is_over } = stages.clone();
    let keeping = tasks.spawn(keeper::run(hub.journal.clone(), is_over.clone()));
    let shipping = tasks.spawn(Shipper::new(hub.journal.clone(), usage).run(is_over.clone()));
    tasks.spawn(circuits::keeper::run(hub.circuits.clone(), hub.live.clone(), reports, is_over.clone()));
    if let Some(probing) = probing {
        tasks.spawn(prober::run(probing, hub.clone(), nodes.clone(), is_over.clone()));
    }
    let telling = tasks.spawn(budgets::run(hub.budgets.clone(), nodes.clone(), is_over.clone()));
    tasks.spawn(sessions::run(hub.sessions.clone(), words, is_over.clone()));
    tasks.spawn(responses::run(hub.responses.clone(), is_over.clone()));
    // All three end by themselves when all is over, within their patience. Only then the journal goes: as long as it is there,
    // somebody gives back what is held for this process.
    let journal = hub.journal.clone();
    let ending = tasks.spawn(async move {
        let (_, _, is_free) = tokio::join!(keeping, shipping, telling);
        let_go(&journal, is_free.unwrap_or(false)).await
    });
    let ended = async { ending.await.unwrap_or(false) };
    tasks.spawn(heartbeat::run(nodes, hub.clone(), is_draining, ended));
    let mut until = is_over;
    tasks.spawn(async move {
        tokio::select! {
            () = follower.run() => {}
            _ = until.wait_for(|is_over| *is_over) => {}
        }
    });
}
