//! Sessions over the fleet: real gateways, one store. Who served a turn is told by the upstreams and the credential they saw.

use crate::harness::{Admin, Gateway, Shape, open};
use serde_json::{Value, json};
use simulator::{Script, Simulator, SimulatorConfig};
use std::cell::Cell;
use testbed::{Answer, eventually};

/// A provider and its upstream.
struct Account {
    upstream: Simulator,
    id: i64,
    credential: String,
}

impl Account {
    async fn make(admin: &Admin, number: usize) -> Self {
        let upstream = Simulator::start(SimulatorConfig::default()).await.unwrap();
        let credential = format!("sk-account-{number}");
        let body = json!({
            "name": format!("account {number}"), "provider_type": "claude", "url": upstream.base_url(), "key": credential,
            "max_attempts": 1, "circuit_breaker_failure_threshold": 2, "circuit_breaker_open_duration_ms": 1_000,
            "circuit_breaker_half_open_success_threshold": 1,
        });
        let made = admin.post("/api/v1/providers", body).await;
        Self { upstream, id: made["id"].as_i64().unwrap(), credential }
    }

    /// Turns of the session that it answered so.
    fn turns(&self, status: u16) -> usize {
        let turns = self.upstream.served_marked(SESSION);
        let expected = ("x-api-key".to_owned(), self.credential.clone());
        assert!(turns.iter().all(|turn| turn.request.credentials().contains(&expected)), "{turns:?}");
        turns.iter().filter(|turn| turn.answer.status == Some(status)).count()
    }
}

/// Two gateways, four providers that are all alike, and seats of one user.
struct Fleet {
    _shape: Shape,
    admin: Admin,
    gateways: [Gateway; 2],
    accounts: Vec<Account>,
    secret: String,
    /// Turns of the session so far.
    turns: Cell<usize>,
    /// Conversations of others so far, of one turn each.
    others: Cell<usize>,
}

impl Fleet {
    async fn new() -> Self {
        let shape = Shape::new().await;
        let admin = shape.admin("admin").await;
        let gateways = [shape.gateway("a").await, shape.gateway("b").await];
        let mut accounts = Vec::new();
        for number in 0..4 {
            accounts.push(Account::make(&admin, number).await);
        }
        let (_, secret) = admin.make_seat("Ada").await;
        admin.in_force_on(2).await;
        let (turns, others) = (Cell::new(0), Cell::new(0));
        Self { _shape: shape, admin, gateways, accounts, secret, turns, others }
    }

    /// The next turn of the session, at the gateway that did not have the last one. Answers which account served it.
    async fn turn(&self) -> usize {
        let number = self.turns.replace(self.turns.get() + 1);
        let before = self.served();
        assert_eq!(self.say(number % 2, SESSION, number).await, 200);
        let mut served = self.served().into_iter().zip(before).map(|(now, before)| now - before);
        assert_eq!(served.clone().sum::<usize>(), 1);
        served.position(|turns| turns == 1).unwrap()
    }

    /// Turns that each account served.
    fn served(&self) -> Vec<usize> {
        self.accounts.iter().map(|account| account.turns(200)).collect()
    }

    /// Somebody new asks each gateway.
    async fn others_ask(&self) {
        for gateway in 0..2 {
            let other = self.others.replace(self.others.get() + 1);
            assert_eq!(self.say(gateway, &format!("another-{other}"), 1).await, 200);
        }
    }

    async fn say(&self, gateway: usize, session: &str, turn: usize) -> u16 {
        let more = [("x-claude-code-session-id", session), ("x-sim-id", session)];
        let seats = &self.gateways[gateway].seats;
        Answer::whole(open(seats, &self.secret, &more, &conversation(turn)).await).await.status
    }

    /// Others ask until the breaker of an account is in this state.
    async fn others_ask_until(&self, account: usize, state: &str) {
        let path = format!("/api/v1/providers/{}/circuit", self.accounts[account].id);
        eventually(state, || async {
            self.others_ask().await;
            self.admin.get(&path).await["state"] == state
        })
        .await;
    }

    async fn edit(&self, account: usize, change: Value) {
        let path = format!("/api/v1/providers/{}", self.accounts[account].id);
        self.admin.api.patch(&path, change).await.expect(200);
        self.admin.in_force_on(2).await;
    }

    /// Waits until the admin side says that this one had the session's last turn; there is one such session.
    async fn is_listed_at(&self, account: usize) {
        eventually("the list of sessions says so", || async {
            let list = self.admin.get(&format!("/api/v1/sessions?session_id={SESSION}")).await;
            let sessions = list["items"].as_array().unwrap();
            assert!(sessions.len() <= 1, "{list}");
            sessions.iter().any(|session| {
                session["provider_id"] == self.accounts[account].id
                    && session["requests"].as_u64() == Some(self.turns.get() as u64)
            })
        })
        .await;
    }

    fn script(&self, account: usize, script: Script) {
        self.accounts[account].upstream.set_script(script);
    }
}

fn conversation(turn: usize) -> Value {
    let messages: Vec<_> = (0..=2 * turn)
        .map(|n| json!({"role": if n % 2 == 0 { "user" } else { "assistant" }, "content": format!("{n}")}))
        .collect();
    json!({"model": "claude-sonnet-4-5", "max_tokens": 16, "messages": messages})
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_session_stays_on_both_gateways_moves_once_when_its_provider_fails_and_spills_without_moving() {
    let fleet = Fleet::new().await;
    let home = fleet.turn().await;
    let strangers: Vec<usize> = (0..4).filter(|account| *account != home).collect();

    // Others fail until their breakers open, come back, and are edited meanwhile, as is the home: it stays.
    for &broken in &strangers {
        let errors = fleet.accounts[broken].upstream.totals().endings;
        fleet.script(broken, Script::failing(500));
        fleet.others_ask_until(broken, "open").await;
        assert_ne!(fleet.accounts[broken].upstream.totals().endings, errors, "it was asked and failed");
        for edited in [broken, home] {
            fleet
                .edit(
                    edited,
                    json!({"name": format!("edited {broken} {edited}"), "weight": 3, "priority": 1}),
                )
                .await;
            for _ in 0..TURNS_EACH {
                fleet.others_ask().await;
                assert_eq!(fleet.turn().await, home);
            }
        }
        fleet.edit(broken, json!({"priority": 0})).await;
        fleet.script(broken, Script::default());
        fleet.others_ask_until(broken, "closed").await;
        assert_eq!(fleet.turn().await, home);
    }
    assert!(fleet.turns.get() > 200);
    fleet.is_listed_at(home).await;

    // Its own one fails: it moves, and both follow it without asking the old one again. What keeps them from that is the
    // binding: the old one has no breaker now.
    fleet.edit(home, json!({"circuit_breaker_failure_threshold": 0})).await;
    fleet.script(home, Script::failing(500));
    let second = fleet.turn().await;
    assert_ne!(second, home);
    eventually("both go by the new binding", || async {
        let before = fleet.accounts[home].turns(500);
        let (one, other) = (fleet.turn().await, fleet.turn().await);
        assert_eq!((one, other), (second, second));
        fleet.accounts[home].turns(500) == before
    })
    .await;
    fleet.script(home, Script::default());
    for _ in 0..10 {
        assert_eq!(fleet.turn().await, second, "that it is well again moves nothing");
    }
    fleet.is_listed_at(second).await;

    // The new one is overloaded for a turn at each gateway: that spills, to the same one, and comes back.
    fleet.script(second, Script::failing(529));
    let spare = fleet.turn().await;
    assert_ne!(spare, second);
    assert_eq!(fleet.turn().await, spare);
    fleet.script(second, Script::default());
    for _ in 0..10 {
        assert_eq!(fleet.turn().await, second);
    }
    fleet.is_listed_at(second).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_session_that_is_terminated_is_drawn_anew_on_both_gateways() {
    let fleet = Fleet::new().await;
    let home = fleet.turn().await;
    assert_eq!(fleet.turn().await, home);
    fleet.is_listed_at(home).await;
    // Whoever has no binding goes elsewhere: nobody else costs as little.
    let elsewhere = (home + 1) % 4;
    fleet.edit(elsewhere, json!({ "priority": 0 })).await;
    for other in (0..4).filter(|account| *account != elsewhere) {
        fleet.edit(other, json!({ "priority": 1 })).await;
    }
    for _ in 0..4 {
        assert_eq!(fleet.turn().await, home, "it is bound");
    }
    let list = fleet.admin.get(&format!("/api/v1/sessions?session_id={SESSION}")).await;
    let id = list["items"][0]["id"].as_str().unwrap();
    fleet.admin.api.post(&format!("/api/v1/sessions/{id}/terminate"), json!({})).await.expect(204);
    for _ in 0..4 {
        assert_eq!(fleet.turn().await, elsewhere);
    }
}

const SESSION: &str = "session-one";
/// For each of three strangers that are broken, twice.
const TURNS_EACH: usize = 34;
