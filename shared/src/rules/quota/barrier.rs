//! When accounts may be opened: after all gateways have told what they hold, and know whose limits count.
//!
//! An account is opened with what the ledger says. What a gateway has let in, and what has ended there and is not booked, must
//! be held by then; and each must know that the account is governed, or it would book what it never tells. Both are in
//! its beats ([`NodeBeat::revision`], [`NodeBeat::quota_epoch`]). Beats are kept where budgets are: whoever loses these may
//! have lost those, so after a loss all that were there before are waited for, for as long as a beat counts.

use crate::contract::keys::NODE_TTL_SECS;
use crate::contract::node::{NodeBeat, NodeKind};
use crate::ids::Revision;
use crate::time::UnixMillis;
use std::collections::BTreeMap;

/// Why nothing is opened now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum HeldUp {
    /// Who asked for it has not beaten yet, or is gone.
    NoGateway,
    /// A gateway that was there before the store lost what it had may still be.
    Unheard,
    /// A gateway goes by an older configuration.
    Behind(String),
    /// A gateway has not declared yet what it holds.
    Undeclared(String),
    /// The store has just lost its epoch, or another admin-api has begun the next one.
    OtherEpoch,
}

impl HeldUp {
    /// The word for it in logs.
    #[must_use]
    pub fn as_str(&self) -> &'static str {
        match self {
            Self::NoGateway => "no_gateway",
            Self::Unheard => "unheard",
            Self::Behind(_) => "behind",
            Self::Undeclared(_) => "undeclared",
            Self::OtherEpoch => "other_epoch",
        }
    }

    /// The node that it is about.
    #[must_use]
    pub fn node(&self) -> Option<&str> {
        match self {
            Self::NoGateway | Self::Unheard | Self::OtherEpoch => None,
            Self::Behind(node) | Self::Undeclared(node) => Some(node),
        }
    }
}

/// Whether accounts may be opened under this epoch of the store, as they are configured in this revision.
pub fn barrier(nodes: &[NodeBeat], revision: Revision, epoch: u64) -> Result<(), HeldUp> {
    // Without a configuration it serves nobody.
    let mut gateways =
        nodes.iter().filter(|node| node.kind == NodeKind::Gateway && node.revision.is_some()).peekable();
    if gateways.peek().is_none() {
        return Err(HeldUp::NoGateway);
    }
    gateways.try_for_each(|node| match node.quota_epoch {
        _ if node.revision < Some(revision) => Err(HeldUp::Behind(node.id.clone())),
        Some(other) if other != epoch => Err(HeldUp::Undeclared(node.id.clone())),
        // Without an epoch it holds nothing.
        Some(_) | None => Ok(()),
    })
}

/// Who is waited for after a loss. Moments are milliseconds by the clock of who waits, which never goes back.
#[derive(Debug, Default)]
pub struct Fleet {
    /// The last beats that were read while nothing was lost, and those that were read since.
    known: Beats,
    read: Beats,
    wait: Option<Wait>,
}

type Beats = BTreeMap<String, UnixMillis>;

#[derive(Debug)]
struct Wait {
    for_nodes: Beats,
    until_ms: u64,
}

impl Fleet {
    /// The store is whole: what was read before is what there was.
    pub fn is_whole(&mut self) {
        self.known.clone_from(&self.read);
    }

    /// These beats were read, after the last look at the store's epoch.
    pub fn reads(&mut self, nodes: &[NodeBeat]) {
        self.read = nodes.iter().map(|node| (node.id.clone(), node.at)).collect();
    }

    /// The store has lost what it had, or this process has only just begun to look.
    pub fn loses(&mut self, now_ms: u64) {
        let mut for_nodes = std::mem::take(&mut self.known);
        // Lost again meanwhile: those of before are still to come.
        for (id, beat_at) in self.wait.take().into_iter().flat_map(|wait| wait.for_nodes) {
            for_nodes.entry(id).or_insert(beat_at);
        }
        let for_ms = if for_nodes.is_empty() { UNKNOWN_MS } else { NODE_TTL_SECS * 1_000 };
        self.wait = Some(Wait { for_nodes, until_ms: now_ms.saturating_add(for_ms) });
    }

    /// Whether all that may be there have beaten since, by what was read last.
    pub fn is_complete(&mut self, now_ms: u64) -> Result<(), HeldUp> {
        let Some(wait) = &mut self.wait else { return Ok(()) };
        let read = &self.read;
        let before = wait.for_nodes.len();
        wait.for_nodes.retain(|id, beat_at| read.get(id).is_none_or(|at| at == beat_at));
        let is_last = before > 0 && wait.for_nodes.is_empty();
        if is_last || wait.until_ms <= now_ms {
            self.wait = None;
            return Ok(());
        }
        Err(HeldUp::Unheard)
    }
}

/// How long is waited when nobody was known: longer than a beat takes.
const UNKNOWN_MS: u64 = 3_000;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::node_beat;

    fn node(id: &str, revision: Option<u64>, quota_epoch: Option<u64>) -> NodeBeat {
        NodeBeat { revision: revision.map(Revision), quota_epoch, ..node_beat(id) }
    }

    fn beat(id: &str, at: i64) -> NodeBeat {
        NodeBeat { at: UnixMillis(at), ..node_beat(id) }
    }

    #[test]
    fn all_gateways_know_whose_limits_count_and_have_declared() {
        let fine = node("a", Some(7), Some(3));
        let other = NodeBeat { kind: NodeKind::Other, ..node("o", Some(1), Some(1)) };
        let with = |more: NodeBeat| barrier(&[fine.clone(), other.clone(), more], Revision(7), 3);
        assert_eq!(with(node("b", Some(8), Some(3))), Ok(()));
        assert_eq!(with(node("b", Some(7), None)), Ok(()), "it holds nothing");
        assert_eq!(with(node("b", None, Some(1))), Ok(()), "it serves nobody");
        assert_eq!(with(node("b", Some(6), Some(3))), Err(HeldUp::Behind("b".to_owned())));
        for epoch in [2, 4] {
            assert_eq!(with(node("b", Some(7), Some(epoch))), Err(HeldUp::Undeclared("b".to_owned())));
        }
        assert_eq!(barrier(&[other, node("b", None, None)], Revision(7), 3), Err(HeldUp::NoGateway));
    }

    #[test]
    fn after_a_loss_those_are_waited_for_that_were_there() {
        let mut fleet = Fleet::default();
        fleet.reads(&[beat("a", 1), beat("b", 1), beat("gone", 1)]);
        fleet.is_whole();
        fleet.reads(&[beat("a", 2), beat("b", 2)]);
        fleet.is_whole();
        assert_eq!(fleet.is_complete(100), Ok(()), "nothing was lost");
        // Read after the loss, and before it was noticed.
        fleet.reads(&[]);
        fleet.loses(1_000);
        fleet.reads(&[beat("a", 3)]);
        assert_eq!(fleet.is_complete(1_500), Err(HeldUp::Unheard));
        // A store that was not emptied shows old beats.
        fleet.reads(&[beat("b", 2)]);
        assert_eq!(fleet.is_complete(2_000), Err(HeldUp::Unheard));
        fleet.reads(&[beat("b", 3)]);
        assert_eq!(fleet.is_complete(2_500), Ok(()));
        assert_eq!(fleet.is_complete(2_500), Ok(()));
    }

    #[test]
    fn who_does_not_come_back_is_gone_when_its_time_is_over() {
        let mut fleet = Fleet::default();
        fleet.reads(&[beat("a", 1), beat("b", 1)]);
        fleet.is_whole();
        fleet.loses(1_000);
        fleet.reads(&[beat("a", 2)]);
        assert_eq!(fleet.is_complete(5_000), Err(HeldUp::Unheard));
        // Lost once more: it begins anew, for the one that is missing and for the one that was back.
        fleet.is_whole();
        fleet.loses(6_000);
        fleet.reads(&[beat("b", 2)]);
        assert_eq!(fleet.is_complete(15_999), Err(HeldUp::Unheard));
        assert_eq!(fleet.is_complete(16_000), Ok(()));
    }

    #[test]
    fn who_knows_of_nobody_waits_for_a_beat() {
        let mut fleet = Fleet::default();
        fleet.loses(1_000);
        fleet.reads(&[beat("a", 1)]);
        assert_eq!(fleet.is_complete(3_999), Err(HeldUp::Unheard));
        assert_eq!(fleet.is_complete(4_000), Ok(()));
    }
}
