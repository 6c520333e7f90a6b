//! When accounts may be opened: after all gateways have told what they hold, and know whose limits count.
//!
//! An account is opened with what the ledger says. What a gateway has let in, and what has ended there and is not booked, must
//! be held by then; and each must know that the account is governed, or it would book what it never tells. Both are in
//! its beats ([`NodeBeat::revision`], [`NodeBeat::quota_epoch`]). Who does not beat any more has left a journal: that is waited
//! for by [`custody`](super::custody).

use crate::contract::node::{NodeBeat, NodeKind};
use crate::ids::{JournalId, Revision};

/// Why nothing is opened now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum HeldUp {
    /// Nobody has seen who is there.
    NotLooked,
    /// Who asked for it has not beaten yet, or is gone.
    NoGateway,
    /// Whoever opens has just begun to look: a gateway that nobody knows of may not have beaten since the store lost what it had.
    Unheard,
    /// A journal is in nobody's hands: what is in it, nobody has told or declared.
    Unadopted(JournalId),
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
            Self::NotLooked => "not_looked",
            Self::NoGateway => "no_gateway",
            Self::Unheard => "unheard",
            Self::Unadopted(_) => "unadopted",
            Self::Behind(_) => "behind",
            Self::Undeclared(_) => "undeclared",
            Self::OtherEpoch => "other_epoch",
        }
    }

    /// The node that it is about, which has the name of its journal.
    #[must_use]
    pub fn node(&self) -> Option<String> {
        match self {
            Self::NotLooked | Self::NoGateway | Self::Unheard | Self::OtherEpoch => None,
            Self::Unadopted(journal) => Some(journal.to_string()),
            Self::Behind(node) | Self::Undeclared(node) => Some(node.clone()),
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::node_beat;

    fn node(id: &str, revision: Option<u64>, quota_epoch: Option<u64>) -> NodeBeat {
        NodeBeat { revision: revision.map(Revision), quota_epoch, ..node_beat(id) }
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
}
