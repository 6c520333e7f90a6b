//! What other nodes are asked and waited for, before a refusal is said: they may have put aside ahead what nobody there needs.
//!
//! ```text
//!  refused ─► this node tells what ended and gives back what is free ─► asked again
//!     └─► others are recalled: 20 ms ─► asked again ─► 40 ms ─► 80 ms ─► refused
//! ```
//! It takes its time where many are refused at once; so one wait is not enough, and one that was in vain says nothing of the next:
//! on a busy machine a recall may not have been heard yet. But nobody waits where others have nothing, or too little, put aside.
//!
//! All moments are milliseconds of the node's own clock.

use super::words::Refusal;
use crate::money::NanoUsd;

/// What was asked of other nodes in one account.
#[derive(Clone, Copy, Debug, Default)]
pub struct Recalls {
    /// When they were recalled last.
    recalled_ms: Option<u64>,
}

/// What is done about a refusal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Next {
    /// It is said.
    Refuse(Why),
    /// The store is asked once more, after so long.
    Wait {
        /// Other nodes are recalled first; they were just now, otherwise.
        recalls: bool,
        /// How long, in milliseconds.
        for_ms: u64,
    },
}

/// Why nobody is waited for (any more).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Why {
    /// No other node has anything put aside, or all of it together is too little.
    NothingElsewhere,
    /// This request has waited.
    Waited,
}

impl Recalls {
    /// Decides, where so much of what is in escrow is this node's own, and the request has waited so often.
    pub fn next(&mut self, refusal: &Refusal, own: NanoUsd, waits: u32, now_ms: u64) -> Next {
        if !refusal.fits_when_back(refusal.escrowed() - own) {
            return Next::Refuse(Why::NothingElsewhere);
        }
        let Some(for_ms) = WAITS_MS.get(waits as usize).copied() else {
            return Next::Refuse(Why::Waited);
        };
        let recalls = self.recalled_ms.is_none_or(|at_ms| at_ms.saturating_add(WAITS_MS[0]) <= now_ms);
        if recalls {
            self.recalled_ms = Some(now_ms);
        }
        Next::Wait { recalls, for_ms }
    }
}

/// A word to all nodes, and one of each to the store (design §7); 140 ms in all.
const WAITS_MS: [u64; 3] = [20, 40, 80];

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rules::quota::{Kind, ScopeId, What};

    /// 50 of 100 are spent, 45 held, and so much of that in escrow.
    fn refusal(escrowed: i64, need: i64) -> Refusal {
        let what = What::Money {
            kind: Kind::Total,
            limit: NanoUsd(100),
            spent: NanoUsd(50),
            held: NanoUsd(45),
            escrowed: NanoUsd(escrowed),
            need: NanoUsd(need),
        };
        Refusal { scope: ScopeId::Owner, what, resets_at: None }
    }

    fn wait(recalls: bool, for_ms: u64) -> Next {
        Next::Wait { recalls, for_ms }
    }

    #[test]
    fn nobody_waits_for_what_other_nodes_do_not_have() {
        let next =
            |escrowed, own, need| Recalls::default().next(&refusal(escrowed, need), NanoUsd(own), 0, 1_000);
        let nothing = Next::Refuse(Why::NothingElsewhere);
        assert_eq!(next(0, 0, 10), nothing, "nothing is put aside");
        assert_eq!(next(30, 30, 10), nothing, "all of it is this node's");
        assert_eq!(next(30, 26, 10), nothing, "4 would come back, and 5 are missing");
        assert_eq!(next(30, 25, 10), wait(true, 20));
        assert_eq!(next(45, 0, 51), nothing, "more than will ever be left");
        let what = What::Requests { limit: 1, current: 1 };
        let too_often = Refusal { what, ..refusal(30, 10) };
        assert_eq!(Recalls::default().next(&too_often, NanoUsd::ZERO, 0, 1_000), nothing);
    }

    #[test]
    fn what_other_nodes_have_is_waited_for_three_times_by_each_request() {
        let mut recalls = Recalls::default();
        let mut next = |waits, now_ms| recalls.next(&refusal(30, 10), NanoUsd::ZERO, waits, now_ms);
        assert_eq!(next(0, 1_000), wait(true, 20));
        assert_eq!(next(0, 1_010), wait(false, 20), "another one waits with it");
        assert_eq!(next(1, 1_020), wait(true, 40));
        assert_eq!(next(2, 1_060), wait(true, 80));
        assert_eq!(next(3, 1_140), Next::Refuse(Why::Waited));
        assert_eq!(next(0, 1_141), wait(true, 20));
    }
}
