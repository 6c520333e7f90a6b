//! Which epoch the store of budgets is in, and an account.

/// How the epoch of the store stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EpochNow {
    /// It is this one.
    InForce(u64),
    /// The store has lost what it had, or the database has: this one is to be begun.
    Begins(u64),
}

/// How the epoch stands when the database has `kept` (0: none yet), the store says `said`, and has heard of `last` before it started.
#[must_use]
pub fn epoch_now(kept: u64, said: Option<u64>, last: Option<u64>) -> EpochNow {
    match said {
        Some(said) if said == kept => EpochNow::InForce(kept),
        // After a backup came back the database may be the older one, and the store's accounts in later epochs than it knows.
        _ => EpochNow::Begins(kept.max(said.max(last).unwrap_or(0)).saturating_add(1)),
    }
}

/// The epoch of an account: that of its store, begun by the admin side each time the store lost what it had, and within it the
/// account's generation ([`crate::model::User::budget_generation`]). It grows with both, so that an account that came under
/// limits anew is not taken for the one that was opened before.
#[must_use]
pub fn epoch_of(store: u64, generation: u32) -> u64 {
    // Below 2^53 for half a million losses of the store, which Lua's numbers hold.
    (store << u32::BITS).saturating_add(u64::from(generation))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn an_epoch_begins_where_the_store_and_the_database_do_not_agree() {
        use EpochNow::{Begins, InForce};
        for (kept, said, last, expected) in [
            (0, None, None, Begins(1)),
            (3, Some(3), Some(3), InForce(3)),
            (3, None, None, Begins(4)),
            (3, None, Some(3), Begins(4)),
            (3, None, Some(7), Begins(8)),
            (3, Some(7), Some(7), Begins(8)),
            (7, Some(3), Some(3), Begins(8)),
            (7, None, Some(3), Begins(8)),
        ] {
            assert_eq!(epoch_now(kept, said, last), expected, "{kept} {said:?} {last:?}");
        }
    }

    proptest! {
        #[test]
        fn a_later_store_or_generation_is_a_later_epoch(
            (store, generation) in (0_u64..1 << 20, any::<u32>()),
            (later, other) in (1_u64..1 << 20, any::<u32>()),
        ) {
            prop_assert!(epoch_of(store + later, other) > epoch_of(store, generation));
            if let Some(next) = generation.checked_add(1) {
                prop_assert!(epoch_of(store, next) > epoch_of(store, generation));
            }
            prop_assert!(epoch_of(store, generation) < 1 << 53);
        }
    }
}
