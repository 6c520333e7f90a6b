//! In whose hands journals are. No account is opened while one is in nobody's: a gateway that was killed leaves requests that
//! had money put aside, and records that nobody has told yet, and the ledger knows of neither.
//!
//! ```text
//!  a gateway beats ──► in hands ──► beats no more: missing ──► in its successor's, once that has told or declared all of it
//!                                                    ├──► gone: a look at its root does not find it, all of it is booked and told
//!                                                    └──► given up after a while: its disk may be lost
//! ```
//! Which are known is kept where the ledger is, not where budgets are: so a store that was emptied and an admin side that has just
//! started wait for the same ones. After a loss of the store all are missing until they beat again. A beat that came back with old data
//! names an older epoch, which the [`barrier`](super::barrier) refuses.

use crate::contract::node::{NodeBeat, NodeKind};
use crate::ids::JournalId;
use crate::time::UnixMillis;
use std::collections::{BTreeMap, BTreeSet};

/// What is kept of a journal.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Kept {
    /// The root that it is in ([`NodeBeat::journal_root`]).
    pub root: Option<String>,
    /// Since when it has been in nobody's hands, by the clock of who looked.
    pub missing_since: Option<UnixMillis>,
}

/// All that are known.
pub type Journals = BTreeMap<JournalId, Kept>;

/// When somebody looks.
#[derive(Clone, Copy, Debug)]
pub struct Moment {
    /// By the clock on the wall, as gateways say when they looked at their roots.
    pub now: UnixMillis,
    /// In milliseconds, by a clock that never goes back.
    pub ticks_ms: u64,
    /// The only gateway is this process: its predecessor is dead, and there is but one clock.
    pub is_in_process: bool,
}

/// What a look came to.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Look {
    /// What is to be kept from now on; `None`: nothing of that journal any more.
    pub changes: BTreeMap<JournalId, Option<Kept>>,
    /// Journals that are not waited for any longer, though nobody knows what was in them.
    pub given_up: Vec<JournalId>,
    /// One that is waited for.
    pub missing: Option<JournalId>,
}

/// What one who looks remembers from look to look.
#[derive(Clone, Debug, Default)]
pub struct Custody {
    /// The node that had a journal in its hands last.
    keepers: BTreeMap<JournalId, String>,
    /// Since when it has been waited for.
    waits: BTreeMap<JournalId, u64>,
    given_up: BTreeSet<JournalId>,
    looked_at_ms: Option<u64>,
    /// Some gateway has said what is in its root.
    has_seen_roots: bool,
}

/// What the beats say.
struct Beats<'a> {
    hands: BTreeMap<JournalId, &'a NodeBeat>,
    /// Their own processes have said that nothing of them is left.
    ended: BTreeSet<JournalId>,
    gateways: Vec<&'a NodeBeat>,
}

impl<'a> Beats<'a> {
    fn of(nodes: &'a [NodeBeat]) -> Self {
        let (mut hands, mut ended) = (BTreeMap::new(), BTreeSet::new());
        for node in nodes.iter().filter(|node| node.kind != NodeKind::Other) {
            let own: Option<JournalId> = node.id.parse().ok();
            match &node.journals {
                Some(journals) => {
                    hands.extend(journals.iter().map(|journal| (*journal, node)));
                    ended.extend(own.filter(|own| !journals.contains(own)));
                }
                // An earlier release.
                None => hands.extend(own.map(|own| (own, node))),
            }
        }
        let gateways = nodes.iter().filter(|node| node.kind == NodeKind::Gateway).collect();
        Self { hands, ended, gateways }
    }

    /// Its last keeper lives, and has found nothing of it when it last looked. What it adopts it has found before.
    fn was_let_go(&self, journal: JournalId, keeper: Option<&String>) -> bool {
        let keeper = self.gateways.iter().find(|node| Some(&node.id) == keeper);
        keeper.and_then(|node| node.journals_there.as_ref()).is_some_and(|there| !there.contains(&journal))
    }

    /// Somebody has looked for it since then where it was, and has not found it.
    fn is_gone(&self, journal: JournalId, kept: &Kept, since: UnixMillis, moment: Moment) -> bool {
        self.gateways.iter().filter(|node| kept.root.is_some() && node.journal_root == kept.root).any(
            |node| {
                let is_later = |at: UnixMillis| moment.is_in_process || at >= since.plus_ms(CLOCKS_DIFFER_MS);
                node.scanned_at.is_some_and(is_later)
                    && node.journals_there.as_ref().is_some_and(|there| !there.contains(&journal))
            },
        )
    }
}

impl Custody {
    /// Judges these beats, which were read after the store's epoch.
    pub fn look(&mut self, kept: &Journals, nodes: &[NodeBeat], moment: Moment) -> Look {
        let is_first = self.looked_at_ms.is_none_or(|at| at + GAP_MS < moment.ticks_ms);
        self.looked_at_ms = Some(moment.ticks_ms);
        if is_first {
            // While nobody could look, nobody could be seen to come back.
            self.waits.clear();
        }
        let beats = Beats::of(nodes);
        let mut look = Look::default();
        for (journal, node) in &beats.hands {
            self.keepers.insert(*journal, node.id.clone());
            self.waits.remove(journal);
            self.given_up.remove(journal);
            let known = kept.get(journal);
            let root = known.and_then(|known| known.root.clone()).or_else(|| node.journal_root.clone());
            let now = Kept { root, missing_since: None };
            if known != Some(&now) {
                look.changes.insert(*journal, Some(now));
            }
        }
        for (journal, kept) in kept.iter().filter(|(journal, _)| !beats.hands.contains_key(journal)) {
            self.misses(*journal, kept, &beats, moment, &mut look);
        }
        for (journal, root) in self.strangers(&beats) {
            if !kept.contains_key(&journal) && !look.changes.contains_key(&journal) {
                self.misses(journal, &Kept { root, missing_since: None }, &beats, moment, &mut look);
            }
        }
        look
    }

    fn misses(
        &mut self,
        journal: JournalId,
        kept: &Kept,
        beats: &Beats<'_>,
        moment: Moment,
        look: &mut Look,
    ) {
        // A clock may have been put back.
        let since = kept.missing_since.map_or(moment.now, |since| since.min(moment.now));
        let is_done = beats.ended.contains(&journal)
            || beats.was_let_go(journal, self.keepers.get(&journal))
            || beats.is_gone(journal, kept, since, moment);
        if is_done {
            self.forget(journal);
            look.changes.insert(journal, None);
            return;
        }
        if self.given_up.contains(&journal) {
            // Another admin side may wait for it still.
            return;
        }
        let waited_since = *self.waits.entry(journal).or_insert(moment.ticks_ms);
        if waited_since + LONGEST_WAIT_MS <= moment.ticks_ms {
            self.forget(journal);
            self.given_up.insert(journal);
            look.given_up.push(journal);
            look.changes.insert(journal, None);
            return;
        }
        look.missing.get_or_insert(journal);
        if kept.missing_since != Some(since) {
            look.changes.insert(journal, Some(Kept { missing_since: Some(since), ..kept.clone() }));
        }
    }

    /// Journals that are there when the first gateway says what is: they may have been left while nobody looked.
    fn strangers(&mut self, beats: &Beats<'_>) -> BTreeMap<JournalId, Option<String>> {
        let mut strangers = BTreeMap::new();
        if !self.has_seen_roots {
            for node in &beats.gateways {
                let there = node.journals_there.iter().flatten();
                self.has_seen_roots |= node.journals_there.is_some();
                strangers.extend(there.map(|journal| (*journal, node.journal_root.clone())));
            }
        }
        strangers.retain(|journal, _| !beats.hands.contains_key(journal) && !beats.ended.contains(journal));
        strangers
    }

    fn forget(&mut self, journal: JournalId) {
        self.keepers.remove(&journal);
        self.waits.remove(&journal);
        self.given_up.remove(&journal);
    }
}

/// How long a journal that is in nobody's hands is waited for: longer than a supervisor takes to start a process again, and
/// longer than a node counts that beats no more.
pub const LONGEST_WAIT_MS: u64 = 15_000;
/// How far the clocks of two machines may be apart.
const CLOCKS_DIFFER_MS: u64 = 2_000;
/// Looks that are farther apart leave a gap in which nobody was seen.
const GAP_MS: u64 = 5_000;

#[cfg(test)]
mod tests;
