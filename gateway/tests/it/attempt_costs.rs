//! What failed attempts have cost, and what was put aside for them: at the user and at the providers.

use crate::budgets::{limits, open_provider, open_user, settled, snapshot};
use crate::harness::{Hub, PATIENCE, claude, message, upstream, upstream_with};
use crate::journal::look;
use gateway::config::GatewayConfig;
use shared::contract::begin::Begin;
use shared::contract::snapshot::Snapshot;
use shared::contract::usage::Outcome;
use shared::ids::{ProviderId, UserId};
use shared::model::{Limits, Provider, QuotaReservation};
use shared::money::NanoUsd;
use shared::rules::quota::{AccountId, scopes_of_caller, scopes_of_provider};
use shared::time::Zone;
use simulator::{Cut, Script, Simulator, Usage};
use std::time::Duration;
use tokio::time::timeout;

const DOLLAR: i64 = 1_000_000_000;
/// The most that [`message`] can cost, and a little more: some 640 tokens of input written to the cache for an hour, 64 of output,
/// and a tenth for the US alone.
const OF_ONE_ATTEMPT: i64 = 5_700_000;
/// What a stream takes that breaks after it has named its input, and the first token of its output.
const OF_BROKEN: i64 = 300 * 3_000 + 15_000;

/// A provider whose streams break before anything real, and another that serves.
struct Failover {
    broken: Simulator,
    serves: Simulator,
    snapshot: Snapshot,
    hub: Hub,
}

async fn failover(left: i64, reservation: QuotaReservation) -> Failover {
    let usage = Some(Usage { input: 300, output: 12, ..Usage::default() });
    let broken = upstream_with(Script { usage, ..Script::cutting(Cut::MidStream(1)) }).await;
    let serves = upstream().await;
    let only_once = |id, url: &str, priority| Provider { priority, max_attempts: 1, ..claude(id, url) };
    let providers = vec![only_once(1, &broken.base_url(), 0), only_once(2, &serves.base_url(), 1)];
    let mut snapshot = snapshot(providers, limits(|l| l.total = Some(NanoUsd(DOLLAR))));
    snapshot.core.settings.quota_reservation = reservation;
    let hub = Hub::start_with(snapshot.clone(), None).await;
    open_user(&hub, &snapshot, DOLLAR - left).await;
    Failover { broken, serves, snapshot, hub }
}

impl Failover {
    fn asked(&self) -> [usize; 2] {
        [self.broken.served().len(), self.serves.served().len()]
    }

    /// What the user has left, once nothing is held any more.
    async fn left(&self) -> i64 {
        let (user, key) = (&self.snapshot.principals.users[0], &self.snapshot.principals.keys[0]);
        let scopes =
            scopes_of_caller(&user.clone().into(), &key.clone().into(), &Zone::default(), gateway::now());
        DOLLAR - settled(&self.hub, AccountId::User(UserId(1)), &scopes).await.spent.0
    }
}

#[tokio::test]
async fn a_strict_budget_has_room_for_what_failed_and_for_the_next_attempt_or_there_is_none() {
    let poor = failover(OF_ONE_ATTEMPT, QuotaReservation::Strict).await;
    let answer = poor.hub.post("/v1/messages", message(true)).await;
    assert_eq!((answer.status.as_u16(), poor.asked()), (429, [1, 0]), "{}", answer.text());
    assert_eq!(answer.json()["error"]["type"], "billing_error");
    let record = poor.hub.records(1).await.remove(0);
    assert_eq!(record.request.blocked_by.as_deref(), Some("limit_total"));
    let costs: Vec<_> = record.attempts.iter().map(|row| (row.cost.total.0, row.is_covered)).collect();
    assert_eq!(costs, [(OF_BROKEN, false)]);
    assert_eq!(poor.left().await, OF_ONE_ATTEMPT - OF_BROKEN);

    let rich = failover(OF_ONE_ATTEMPT + OF_BROKEN, QuotaReservation::Strict).await;
    let answer = rich.hub.post("/v1/messages", message(true)).await;
    assert_eq!((answer.status.as_u16(), rich.asked()), (200, [1, 1]), "{}", answer.text());
    let record = rich.hub.records(1).await.remove(0);
    assert_eq!(record.attempts.iter().map(|row| row.is_covered).collect::<Vec<_>>(), [true, false]);
    let cost: i64 = record.attempts.iter().map(|row| row.cost.total.0).sum();
    assert_eq!(rich.left().await, OF_ONE_ATTEMPT + OF_BROKEN - cost, "and nothing is held for it any more");
}

#[tokio::test]
async fn a_budget_that_expects_puts_nothing_more_aside() {
    let failover = failover(DOLLAR, QuotaReservation::Expected).await;
    assert_eq!(failover.hub.post("/v1/messages", message(true)).await.status, 200);
    let record = failover.hub.records(1).await.remove(0);
    assert!(record.attempts.len() == 2 && record.attempts.iter().all(|row| !row.is_covered));
}

#[tokio::test]
async fn who_gets_back_what_was_put_aside_is_not_said_to_have_spent_it_should_the_gateway_die() {
    // Refuses after the seat has heard a sign of life: all may be asked once more, in a while.
    let refuses = upstream_with(Script { first_byte_delay_ms: 200, ..Script::failing(500) }).await;
    let governed = Provider {
        limits: limits(|l| l.daily = Some(NanoUsd(DOLLAR))),
        budget_generation: 1,
        max_attempts: 1,
        ..claude(1, &refuses.base_url())
    };
    let mut snapshot = snapshot(vec![governed.clone()], Limits::default());
    snapshot.principals.users[0].budget_generation = 0;
    let keep_alive = |config: &mut GatewayConfig| config.stream_keep_alive = Some(Duration::from_millis(20));
    let hub = Hub::start_as(snapshot, keep_alive).await;
    open_provider(&hub, &governed, 0).await;
    let asking = hub.post("/v1/messages", message(true));
    let account = AccountId::Provider(ProviderId(1));
    let looking = async {
        loop {
            for (id, begin) in look(&hub.journal_root()).0.open {
                let attempts = Begin::read(id, &begin).unwrap().attempts;
                if attempts.iter().all(|row| row.admitted_at.is_none()) {
                    return attempts;
                }
            }
            tokio::task::yield_now().await;
        }
    };
    let attempts = tokio::select! {
        attempts = looking => attempts,
        answer = asking => panic!("{answer:?} before it was written down that the attempt cost nothing"),
    };
    let [row] = &attempts[..] else { panic!("{attempts:?}") };
    assert_eq!((row.outcome, row.held, row.cost.total), (Outcome::Interrupted, NanoUsd(0), NanoUsd(0)));
    let scopes = scopes_of_provider(&governed, &Zone::default(), gateway::now());
    assert_eq!(timeout(PATIENCE, settled(&hub, account, &scopes)).await.unwrap().spent, NanoUsd(0));
}
