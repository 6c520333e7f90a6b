//! A seeded world: nodes whose clocks differ, a store that loses what it has or comes back with an old copy, limits that change, a
//! ledger that hears of everything late, words that are lost, come twice or too late, and processes that die. Nodes put money aside
//! ahead and draw from it, with the same [`Escrows`](crate::rules::quota::escrow::Escrows) as gateways do. After each step the budgets
//! are held to what really was spent.
//!
//! A world has one account, a user's, with three scopes. Accounts share nothing, so many users are many worlds; a provider's is the same
//! [`Account`](crate::rules::quota::Account), and what is put aside for a failed attempt is a hold like any other. Which journals an opening
//! waits for ([`custody`](crate::rules::quota::custody)) is taken as done well here: it has tests of its own, and `make soak`.
//!
//! ```sh
//! QUOTA_SEEDS=1000000 cargo test --release -p shared quota_simulation
//! QUOTA_SEED=4711 cargo test -p shared quota_simulation    # this one alone
//! ```

mod acts;
mod admin;
mod asks;
mod checks;
mod counts;
mod node;
mod truth;
mod world;

use std::panic::catch_unwind;
use world::World;

#[test]
fn quota_simulation() {
    if let Some(seed) = parameter("QUOTA_SEED") {
        return World::run(seed);
    }
    let mut said = counts::Counts::default();
    for seed in 0..parameter("QUOTA_SEEDS").unwrap_or(10_000) {
        match catch_unwind(|| World::counted(seed)) {
            Ok(counts) => said += counts,
            Err(_) => panic!("QUOTA_SEED={seed} repeats it"),
        }
    }
    said.have_seen_everything();
}

#[expect(clippy::disallowed_methods, reason = "how many seeds is said by whoever starts the test")]
fn parameter(name: &str) -> Option<u64> {
    std::env::var(name).ok()?.parse().ok()
}
