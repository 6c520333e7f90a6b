//! Which epoch an account is in.

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
