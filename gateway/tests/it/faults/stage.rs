//! Plays rows of the matrix against a gateway and tells what is seen: each cell has providers, a user and a key of its
//! own, and all of them run at once.

use super::asks::{ask, last_error, model, provider_type, words};
use super::seen::{Bill, Breaker, Cooling, Log, Mode, Seat, Seen, THRESHOLD, Try, price};
use super::table::{Company, How, PIECES, Row, SHORT_MS};
use crate::harness::{Answer, Hub, PATIENCE, provider, sha256, upstream, upstream_with};
use http_body_util::Full;
use shared::contract::breaker::{Circuit, CircuitDoc};
use shared::contract::usage::{ChainStep, UsageRecord};
use shared::ids::{KeyId, ProviderId};
use shared::model::{GroupSet, Provider};
use shared::ports::{BreakerStore, Since};
use shared::protocol::Dialect;
use shared::testing;
use simulator::{Ending, Refuser, Script, Served, Simulator, SimulatorConfig};
use std::time::Duration;
use tokio::time::Instant;

/// What is wrong with an upstream.
enum Faulty {
    Nobody(Refuser),
    Somebody(Simulator, String),
}

impl Faulty {
    async fn start(how: &How) -> Self {
        match how {
            How::Refuses => Self::Nobody(Refuser::start().expect("a refusing port")),
            How::Untrusted => {
                let config = SimulatorConfig { tls: true, ..SimulatorConfig::default() };
                let simulator = Simulator::start(config).await.expect("a simulator starts");
                let url = simulator.base_url();
                Self::Somebody(simulator, url)
            }
            How::SpeaksNoTls => {
                let simulator = upstream().await;
                let url = format!("https://{}", simulator.addr());
                Self::Somebody(simulator, url)
            }
            How::Plays(script) => {
                let simulator = upstream_with(Script::clone(script)).await;
                let url = simulator.base_url();
                Self::Somebody(simulator, url)
            }
        }
    }

    fn url(&self) -> String {
        match self {
            Self::Nobody(refuser) => refuser.base_url(),
            Self::Somebody(_, url) => url.clone(),
        }
    }

    fn served(&self, marker: &str) -> Vec<Served> {
        match self {
            Self::Nobody(_) => Vec::new(),
            Self::Somebody(simulator, _) => simulator.served_marked(marker),
        }
    }
}

/// One of the matrix.
struct Cell<'a> {
    row: &'a Row,
    company: Company,
    faulty: Faulty,
    /// Of its key, its user and its group; its providers have twice that, and one more.
    number: i64,
}

impl Cell<'_> {
    fn marker(&self) -> String {
        format!("cell-{}", self.number)
    }

    fn first(&self) -> ProviderId {
        ProviderId(2 * self.number)
    }

    fn providers(&self, dialect: Dialect, good: &Simulator) -> Vec<Provider> {
        let in_group =
            |provider: Provider| Provider { group_tag: GroupSet::parse(&self.marker()), ..provider };
        let mut first = in_group(provider(self.first().0, provider_type(dialect), &self.faulty.url()));
        first.circuit_breaker.failure_threshold = THRESHOLD;
        first.timers = self.row.timers;
        let mut second = in_group(provider(self.first().0 + 1, provider_type(dialect), &good.base_url()));
        second.priority = 1;
        match self.company {
            Company::Alone => vec![first],
            Company::WithAnother => vec![first, second],
        }
    }
}

/// All cells of a dialect and a mode, what is seen held against what is declared.
pub async fn differences(dialect: Dialect, mode: Mode, rows: &[Row]) -> Vec<String> {
    let good = upstream_with(Script { text: Some("second ".repeat(8)), ..Script::default() }).await;
    let mut cells = Vec::new();
    for row in rows.iter().filter(|row| row.has(dialect, mode)) {
        for company in Company::ALL {
            let number = i64::try_from(cells.len()).expect("few cells") + 1;
            cells.push(Cell { row, company, faulty: Faulty::start(&row.how).await, number });
        }
    }
    let sentinel = Sentinel::start(&cells).await;
    let hub = hub(dialect, &good, &cells, &sentinel).await;
    let answers = cells.iter().map(|cell| post(&hub, dialect, mode, cell.number, cell.marker()));
    let answers = futures::future::join_all(answers).await;
    let docs = sentinel.circuits(&hub, dialect, mode).await;
    let records = hub.records(cells.len()).await;
    let mut all = Vec::new();
    for (cell, answer) in cells.iter().zip(answers) {
        let record = records.iter().find(|record| record.request.caller.key_id == KeyId(cell.number));
        let record = record.expect("each request has a record");
        let doc = docs.iter().find(|doc| doc.provider_id == cell.first());
        let seen = Seen {
            seat: seat(dialect, cell, &good, &answer),
            log: log(record),
            tries: tries(cell, record),
            breaker: doc.map_or(Breaker::Closed { failures: 0 }, breaker),
            cooling: doc.and_then(|doc| cooling(doc, dialect)),
        };
        let title = format!("{} ({dialect:?}, {mode:?}, {:?})", cell.row.fault, cell.company);
        let declared = cell.row.declared(dialect, mode, cell.company);
        all.extend(seen.differences(&declared).into_iter().map(|what| format!("{title}: {what}")));
        all.extend(unsound(cell, record, doc).into_iter().map(|what| format!("{title}: {what}")));
    }
    all
}

/// The provider of a last request, whose failure is told after all others'.
struct Sentinel {
    number: i64,
    refusing: Simulator,
}

impl Sentinel {
    async fn start(cells: &[Cell<'_>]) -> Self {
        let number = i64::try_from(cells.len()).expect("few cells") + 1;
        Self { number, refusing: upstream_with(Script::failing(401)).await }
    }

    fn provider(&self, dialect: Dialect) -> Provider {
        let provider = provider(2 * self.number, provider_type(dialect), &self.refusing.base_url());
        Provider { group_tag: GroupSet::parse(&format!("cell-{}", self.number)), ..provider }
    }

    /// How all providers stand, once everything that was told has been heard: it is heard in its order.
    async fn circuits(&self, hub: &Hub, dialect: Dialect, mode: Mode) -> Vec<CircuitDoc> {
        post(hub, dialect, mode, self.number, "sentinel".to_owned()).await;
        let until = Instant::now() + PATIENCE;
        loop {
            let news = hub.breakers.read(None, Since::default()).await.expect("memory answers");
            if news.docs.iter().any(|doc| doc.provider_id.0 == 2 * self.number) {
                return news.docs;
            }
            assert!(Instant::now() < until, "the sentinel's failure is heard in time");
            tokio::task::yield_now().await;
        }
    }
}

/// A gateway with the providers of all cells.
async fn hub(dialect: Dialect, good: &Simulator, cells: &[Cell<'_>], sentinel: &Sentinel) -> Hub {
    let mut providers = vec![sentinel.provider(dialect)];
    providers.extend(cells.iter().flat_map(|cell| cell.providers(dialect, good)));
    let mut snapshot = testing::snapshot(providers);
    snapshot.core.prices.insert(model(dialect).to_owned(), price());
    snapshot.principals.users.clear();
    snapshot.principals.keys.clear();
    for number in 1..=sentinel.number {
        let mut user = testing::user_doc(number);
        user.provider_group = GroupSet::parse(&format!("cell-{number}"));
        snapshot.principals.users.push(user);
        snapshot.principals.keys.push(testing::key_doc(number, number));
    }
    let short = Duration::from_millis(SHORT_MS);
    Hub::start_as(snapshot, |config| config.thinking_idle = short).await
}

async fn post(hub: &Hub, dialect: Dialect, mode: Mode, key: i64, marker: String) -> Answer {
    let (path, body) = ask(dialect, mode);
    let mut request = hub.request(&path).header("x-sim-id", marker);
    let headers = request.headers_mut().expect("headers");
    headers.insert("x-api-key", testing::client_secret(key).parse().expect("a header"));
    hub.send(request.body(Full::new(body.into())).expect("a request")).await
}

fn seat(dialect: Dialect, cell: &Cell<'_>, good: &Simulator, answer: &Answer) -> Seat {
    let first = cell.faulty.served(&cell.marker());
    let second = good.served_marked(&cell.marker());
    let sum = sha256(&answer.body);
    let is_of = |served: &[Served]| served.iter().any(|one| one.answer.body_sha256.as_ref() == Some(&sum));
    if answer.status != 200 {
        if is_of(&first) {
            return Seat::Refused(answer.status.as_u16());
        }
        return ours(dialect, answer).unwrap_or_else(|| Seat::Else(format!("{answer:?}")));
    }
    if is_of(&second) {
        return Seat::Second;
    }
    if is_of(&first) {
        let is_whole = first.iter().any(|served| served.answer.ended == Ending::Completed);
        return if is_whole { Seat::First } else { Seat::FirstWithItsError };
    }
    let broken = first.last().and_then(|served| {
        let tail = match &served.answer.body_sha256 {
            Some(sum) => {
                let sent = usize::try_from(served.answer.body_bytes).ok().filter(|sent| *sent > 0)?;
                let is_prefix = sha256(answer.body.get(..sent)?) == *sum;
                std::str::from_utf8(answer.body.get(sent..)?).ok().filter(|_| is_prefix)?
            }
            None => after_pings(dialect, std::str::from_utf8(&answer.body).ok()?, served)?,
        };
        // Its pieces and what stands around them.
        let is_whole = tail.is_empty() && served.answer.events > PIECES;
        if is_whole { Some(Seat::First) } else { last_error(dialect, tail).map(Seat::Broken) }
    });
    broken.unwrap_or_else(|| Seat::Else(answer.text()))
}

/// What follows the pings of a stream that was left while it sent nothing else: before them are its events.
fn after_pings<'a>(dialect: Dialect, body: &'a str, served: &Served) -> Option<&'a str> {
    let (ping, end) = match dialect {
        Dialect::Anthropic => ("event: ping\ndata: {\"type\": \"ping\"}\n\n", "\n\n"),
        Dialect::OpenaiChat | Dialect::OpenaiResponses => (": ping\n\n", "\n\n"),
        Dialect::Gemini => ("\r\n", "\r\n\r\n"),
    };
    let last = body.rfind(ping).filter(|_| dialect != Dialect::Gemini);
    // Google's pings are empty lines: they end where the error begins.
    let tail = last.map(|at| at + ping.len()).or_else(|| body.rfind("data: "))?;
    let mut events = &body[..tail];
    let mut pings = 0;
    while let Some(rest) = events.strip_suffix(ping) {
        let is_end_of_event = dialect == Dialect::Gemini && rest.ends_with('}');
        if is_end_of_event {
            break;
        }
        (events, pings) = (rest, pings + 1);
    }
    // The last event of Gemini's keeps only one of its two line ends here.
    let count =
        events.matches(end).count() + usize::from(dialect == Dialect::Gemini && events.ends_with("}\r\n"));
    (pings > 2 && count == usize::try_from(served.answer.events).ok()?).then(|| &body[tail..])
}

fn ours(dialect: Dialect, answer: &Answer) -> Option<Seat> {
    let document = serde_json::from_slice(&answer.body).ok()?;
    let header = |name: &str| answer.headers.get(name)?.to_str().ok();
    let wait = header("retry-after")?.parse().ok()?;
    Some(Seat::Ours {
        status: answer.status.as_u16(),
        words: words(dialect, &document)?,
        wait_secs: wait..=wait,
        should_retry: header("x-should-retry")? == "true",
    })
}

fn log(record: &UsageRecord) -> Log {
    let request = &record.request;
    Log { status: request.status, error: request.error.clone(), blocked_by: request.blocked_by.clone() }
}

fn tries(cell: &Cell<'_>, record: &UsageRecord) -> Vec<Try> {
    let steps = record.request.decision_chain.steps.iter();
    let attempted = steps.filter_map(|step| match step {
        ChainStep::Attempted { attempt, provider_id, result, status, .. } => {
            Some((*attempt, *provider_id, result.clone(), *status))
        }
        _ => None,
    });
    attempted
        .map(|(attempt, provider_id, result, status)| {
            let row = record.attempts.iter().find(|row| row.attempt == attempt);
            let row = row.expect("each attempt has a ledger row");
            let bill = Bill {
                outcome: row.outcome,
                input: row.usage.input_tokens,
                output: row.usage.output_tokens,
                is_estimate: row.flags.is_estimate,
                cost: row.cost.total,
            };
            Try { provider: provider_id.0 - cell.first().0 + 1, result, status, bill }
        })
        .collect()
}

fn breaker(doc: &CircuitDoc) -> Breaker {
    match doc.circuit {
        Circuit::Closed { failures } => Breaker::Closed { failures },
        Circuit::Open { .. } => Breaker::Open,
        Circuit::HalfOpen { .. } => Breaker::HalfOpen,
    }
}

fn cooling(doc: &CircuitDoc, dialect: Dialect) -> Option<Cooling> {
    assert!(doc.cooldowns.len() <= 1, "one cool-down at most: {doc:?}");
    let cooling = doc.cooldowns.first()?;
    if let Some(of) = &cooling.model {
        assert_eq!(of, model(dialect), "of the model that was asked for");
    }
    // Its number is the moment in which it was set, or shortly after.
    let millis = u64::try_from(cooling.until.0).expect("after 1970").saturating_sub(cooling.number);
    Some(Cooling { kind: cooling.kind, of_model: cooling.model.is_some(), millis: millis..=millis })
}

/// What must hold in every cell, whatever it declares.
fn unsound(cell: &Cell<'_>, record: &UsageRecord, doc: Option<&CircuitDoc>) -> Vec<String> {
    let mut all = Vec::new();
    let steps = || record.request.decision_chain.steps.iter();
    let attempts = steps().filter(|step| matches!(step, ChainStep::Attempted { .. })).count();
    if attempts != record.attempts.len() {
        all.push(format!("{attempts} attempts and {} ledger rows", record.attempts.len()));
    }
    let asked = cell.faulty.served(&cell.marker());
    let tried = record.attempts.iter().filter(|row| row.provider_id == cell.first()).count();
    let is_reached = matches!(cell.row.how, How::Plays(_));
    if is_reached && asked.len() != tried {
        all.push(format!("it was asked {} times, the ledger says {tried}", asked.len()));
    }
    if asked.windows(2).any(|two| two[0].request.body_sha256 != two[1].request.body_sha256) {
        all.push("it was asked with other bytes the second time".to_owned());
    }
    // Each piece of a breaker's evidence is an attempt of the chain.
    for sample in doc.into_iter().flat_map(|doc| &doc.samples) {
        let is_there = steps().any(|step| {
            matches!(step, ChainStep::Attempted { attempt, result, .. }
                if *attempt == sample.attempt && *result == sample.label)
        });
        if !is_there || sample.request_id != Some(record.request.id) {
            all.push(format!("evidence that is in no chain: {sample:?}"));
        }
    }
    all
}
