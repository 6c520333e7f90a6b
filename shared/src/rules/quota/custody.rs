//! In whose hands journals are. No account is opened while one is in nobody's: a gateway that was killed leaves requests that
//! had money put aside, and records that nobody has told yet, and the ledger knows of neither.
//!
//! ```text
//!  a gateway beats ──► in hands ──► beats no more: missing ──► in its successor's, once that has told or declared all of it
//!                                                    ├──► gone: a look at its root does not find it, all of it is booked and told
//!                                                    └──► given up after a while: its disk may be lost
//! ```
//! One that a living gateway adopts is waited for longer: that takes as long as there is much in it. One that is there and locked by a
//! process that nobody hears is that process's own: it lives, and who is not heard holds nothing. Neither kind is waited for without
//! end, however many gateways die one after the other.
//!
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
    /// Nobody adopts one of those that are waited for.
    is_one_unadopted: bool,
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
    /// Since when at least one journal has been missing, without a pause.
    missing_since_ms: Option<u64>,
    /// Since when at least one of these is being adopted by nobody, without a pause.
    unadopted_since_ms: Option<u64>,
    /// The gateways that have said what is in their roots.
    has_seen_roots: BTreeSet<String>,
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

    /// A living gateway adopts it.
    fn is_adopted(&self, journal: JournalId) -> bool {
        self.gateways.iter().any(|node| node.journals_adopted.iter().flatten().any(|it| *it == journal))
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
        let is_after_gap = self.looked_at_ms.is_none_or(|at| at + GAP_MS < moment.ticks_ms);
        self.looked_at_ms = Some(moment.ticks_ms);
        if is_after_gap {
            // While nobody could look, nobody could be seen to come back.
            self.waits.clear();
            (self.missing_since_ms, self.unadopted_since_ms) = (None, None);
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
        let since = |is_so: bool, since: Option<u64>| is_so.then(|| since.unwrap_or(moment.ticks_ms));
        self.missing_since_ms = since(look.missing.is_some(), self.missing_since_ms);
        self.unadopted_since_ms = since(look.is_one_unadopted, self.unadopted_since_ms);
        // What others have written, or have not, is seen with the next look: only that is remembered which is still there.
        let is_known = |journal: &JournalId| kept.contains_key(journal) || look.changes.contains_key(journal);
        self.keepers.retain(|journal, _| is_known(journal));
        self.waits.retain(|journal, _| is_known(journal));
        self.given_up.retain(is_known);
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
        if is_done || self.given_up.contains(&journal) {
            // Once more, where it could not be written, or another admin side waits for it still.
            look.changes.insert(journal, None);
            return;
        }
        let waited_since = *self.waits.entry(journal).or_insert(moment.ticks_ms);
        let is_over = |since: u64, longest_ms: u64| since.saturating_add(longest_ms) <= moment.ticks_ms;
        let is_adopted = beats.is_adopted(journal);
        let is_over_for_all =
            |since: Option<u64>, longest| since.is_some_and(|since| is_over(since, longest));
        let is_over = is_over_for_all(self.missing_since_ms, LONGEST_ADOPTION_MS)
            || match is_adopted {
                true => is_over(waited_since, LONGEST_ADOPTION_MS),
                false => {
                    is_over(waited_since, LONGEST_WAIT_MS)
                        || is_over_for_all(self.unadopted_since_ms, LONGEST_WAIT_FOR_ALL_MS)
                }
            };
        if is_over {
            self.given_up.insert(journal);
            look.given_up.push(journal);
            look.changes.insert(journal, None);
            return;
        }
        look.missing.get_or_insert(journal);
        look.is_one_unadopted |= !is_adopted;
        if kept.missing_since != Some(since) {
            look.changes.insert(journal, Some(Kept { missing_since: Some(since), ..kept.clone() }));
        }
    }

    /// Journals that are there when a gateway first says what is: they may have been left while nobody could hear of them.
    fn strangers(&mut self, beats: &Beats<'_>) -> BTreeMap<JournalId, Option<String>> {
        let mut strangers = BTreeMap::new();
        self.has_seen_roots.retain(|id| beats.gateways.iter().any(|node| node.id == *id));
        for node in beats.gateways.iter().filter(|node| node.journals_there.is_some()) {
            if self.has_seen_roots.insert(node.id.clone()) {
                let there = node.journals_there.iter().flatten();
                strangers.extend(there.map(|journal| (*journal, node.journal_root.clone())));
            }
        }
        strangers.retain(|journal, _| !beats.hands.contains_key(journal) && !beats.ended.contains(journal));
        strangers
    }
}

/// How long a journal that is in nobody's hands is waited for: longer than a supervisor takes to start a process again, and
/// longer than a node counts that beats no more.
pub const LONGEST_WAIT_MS: u64 = 15_000;
/// How long those are waited for that a living gateway adopts, one by one and all together: 2.8 GB are read and handed over within five
/// minutes (ARCHITECTURE.md, figures of the split shape).
pub const LONGEST_ADOPTION_MS: u64 = 600_000;
/// How long nothing is opened for journals that nobody adopts, when one is missing after the other.
pub const LONGEST_WAIT_FOR_ALL_MS: u64 = 60_000;
/// How far the clocks of two machines may be apart.
const CLOCKS_DIFFER_MS: u64 = 2_000;
/// Looks that are farther apart leave a gap in which nobody was seen.
const GAP_MS: u64 = 5_000;

#[cfg(test)]
mod tests;
