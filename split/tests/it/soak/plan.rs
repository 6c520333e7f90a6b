//! What happens in a round and when: drawn from its seed, so that the same seed tries the same again.

use super::dice::Dice;
use std::time::Duration;

/// One thing that happens to a part.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fault<K> {
    /// After the round began.
    pub at: Duration,
    pub kind: K,
    /// Until it is mended, or goes on to its next step.
    pub lasts: Duration,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OfGateway {
    Kill,
    /// Killed, and its successor too, as soon as that is up.
    KillTwice,
    /// Killed, and its successor too, before that is up.
    KillStarting,
    Pause,
    Restart,
    Swap,
    /// The old one is killed while it serves its last streams.
    SwapThenKill,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OfAdmin {
    Kill,
    Pause,
    Restart,
    /// A second one joins, and is killed.
    SecondKilled,
    /// A second one joins, and goes.
    SecondLeaves,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OfRedis {
    Flush,
    Pause,
    /// Killed and back empty.
    Empty,
    /// Killed and back with what it had some time ago.
    Back,
    /// All connections are cut.
    Cut,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OfPostgres {
    Stop,
    Crash,
    Pause,
}

/// A round.
#[derive(Clone, Debug)]
pub struct Plan {
    pub seed: u64,
    pub lasts: Duration,
    pub gateways: [Vec<Fault<OfGateway>>; 2],
    pub admin: Vec<Fault<OfAdmin>>,
    pub redis: Vec<Fault<OfRedis>>,
    pub postgres: Vec<Fault<OfPostgres>>,
}

impl Plan {
    pub fn draw(seed: u64, lasts: Duration) -> Self {
        let mut dice = Dice::new(seed);
        let mut times = |count: u64| {
            let mut times: Vec<_> = (0..count).map(|_| dice.millis(200, lasts.as_millis() as u64)).collect();
            times.sort_unstable();
            times
        };
        let when = [times(3), times(2), times(2), times(3), times(2)];
        let [a, b, admin, redis, postgres] = when;
        use OfGateway::{Kill, KillStarting, KillTwice, Restart, Swap, SwapThenKill};
        let of_gateway = [Kill, Kill, KillTwice, KillStarting, OfGateway::Pause, Restart, Swap, SwapThenKill];
        use OfAdmin::{SecondKilled, SecondLeaves};
        let of_admin =
            [OfAdmin::Kill, OfAdmin::Kill, OfAdmin::Pause, OfAdmin::Restart, SecondKilled, SecondLeaves];
        use OfRedis::{Back, Cut, Empty, Flush};
        let of_redis = [Flush, Flush, OfRedis::Pause, Empty, Back, Back, Cut];
        let of_postgres = [OfPostgres::Stop, OfPostgres::Crash, OfPostgres::Pause];
        Self {
            seed,
            lasts,
            gateways: [dice.faults(a, &of_gateway), dice.faults(b, &of_gateway)],
            admin: dice.faults(admin, &of_admin),
            redis: dice.faults(redis, &of_redis),
            postgres: dice.faults(postgres, &of_postgres),
        }
    }

    /// The one that every test run tries: each part once or twice, one into the other.
    pub fn short() -> Self {
        fn fault<K>(at: u64, kind: K, lasts: u64) -> Fault<K> {
            Fault { at: Duration::from_millis(at), kind, lasts: Duration::from_millis(lasts) }
        }
        Self {
            seed: 4,
            lasts: Duration::from_millis(2_500),
            gateways: [
                vec![fault(600, OfGateway::Kill, 200), fault(1_500, OfGateway::Restart, 0)],
                vec![fault(1_200, OfGateway::KillTwice, 0)],
            ],
            admin: vec![fault(1_000, OfAdmin::Kill, 300)],
            redis: vec![fault(500, OfRedis::Flush, 0), fault(1_300, OfRedis::Back, 400)],
            postgres: vec![fault(1_800, OfPostgres::Crash, 200)],
        }
    }
}

impl Dice {
    fn faults<K: Copy>(&mut self, times: Vec<Duration>, kinds: &[K]) -> Vec<Fault<K>> {
        let fault = |at| Fault { at, kind: self.one_of(kinds), lasts: self.millis(0, 1_200) };
        times.into_iter().map(fault).collect()
    }
}
