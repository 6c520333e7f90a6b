//! The books beside what the provider told and what the seats saw, request by request.

use super::asks::Api;
use super::books::{Billed, Books, Logged, Tokens};
use super::parts::Killed;
use super::seats::{End, Seen};
use simulator::{AnswerFacts, Ending, FakeSuccess, Served, Simulator};
use std::collections::{BTreeMap, HashMap};
use std::time::Duration;

/// A provider of the soak.
#[derive(Clone, Debug)]
pub struct Provider {
    pub api: Api,
    pub secret: String,
    /// In halves: 2 is once.
    pub halves: i64,
}

/// What everybody knows of a round.
pub struct Round<'a> {
    pub providers: &'a HashMap<i64, Provider>,
    pub upstream: &'a Simulator,
    pub seen: &'a [Seen],
    pub kills: [&'a [Killed]; 2],
    pub books: &'a Books,
}

/// How a round went.
#[derive(Clone, Debug, Default)]
pub struct Tally {
    pub differences: Vec<String>,
    /// Requests by what their seats saw of the end, ledger rows by outcome, and the like.
    pub counts: BTreeMap<String, u64>,
    pub asked: u64,
    pub served: u64,
    pub booked: u64,
    pub interrupted: u64,
    /// Requests that were under way on a gateway when it was killed.
    pub under_way: u64,
}

impl Tally {
    pub fn figures(&self) -> String {
        format!(
            "{} asked, {} at the providers, {} ledger rows, {} interrupted of {} under way at a kill, {} differences",
            self.asked,
            self.served,
            self.booked,
            self.interrupted,
            self.under_way,
            self.differences.len()
        )
    }

    pub fn add(&mut self, more: Self) {
        self.differences.extend(more.differences);
        for (what, count) in more.counts {
            *self.counts.entry(what).or_default() += count;
        }
        self.asked += more.asked;
        self.served += more.served;
        self.booked += more.booked;
        self.interrupted += more.interrupted;
        self.under_way += more.under_way;
    }

    fn count(&mut self, what: &str) {
        *self.counts.entry(what.to_owned()).or_default() += 1;
    }
}

pub fn compare(round: &Round<'_>) -> Tally {
    let mut tally = Tally::default();
    tally.differences.extend(round.books.wrong.iter().cloned());
    let mut served: HashMap<String, Vec<Served>> = HashMap::new();
    for one in round.upstream.served() {
        tally.served += 1;
        served.entry(one.marker.clone().unwrap_or_default()).or_default().push(one);
    }
    for seen in round.seen {
        tally.asked += 1;
        tally.count(&format!("seat {:?}", seen.end).to_lowercase());
        let served = served.remove(&seen.marker).unwrap_or_default();
        let logged = round.books.log.get(&seen.marker).map_or(&[][..], Vec::as_slice);
        let mut one = One { round, seen, served: &served, tally: &mut tally, wrong: Vec::new() };
        one.check(logged);
        let wrong = std::mem::take(&mut one.wrong);
        if !wrong.is_empty() {
            let billed = logged.first().and_then(|row| round.books.ledger.get(&row.id));
            tally.differences.push(format!(
                "{}: {}\n  seat: {seen:?}\n  provider: {}\n  log: {logged:?}\n  ledger: {billed:?}",
                seen.path,
                wrong.join("; "),
                served.iter().map(told).collect::<Vec<_>>().join(" | "),
            ));
        }
    }
    for (marker, served) in served {
        tally.differences.push(format!("no seat asked {marker:?}: {served:?}"));
    }
    tally
}

fn told(served: &Served) -> String {
    format!("{:?} {:?}", served.request.credentials(), served.answer)
}

/// One request.
struct One<'a> {
    round: &'a Round<'a>,
    seen: &'a Seen,
    served: &'a [Served],
    tally: &'a mut Tally,
    wrong: Vec<String>,
}

impl One<'_> {
    fn must(&mut self, is_so: bool, what: &str) {
        if !is_so {
            self.wrong.push(what.to_owned());
        }
    }

    fn check(&mut self, logged: &[Logged]) {
        let seen = self.seen;
        let was_under_way = self.was_killed();
        self.tally.under_way += u64::from(was_under_way);
        self.must(seen.end != End::Stuck, "the seat waits for ever");
        let [log] = logged else {
            self.must(logged.is_empty(), "logged twice");
            self.must(self.served.is_empty(), "the provider served it and nobody booked it");
            self.must(seen.id.is_none() || seen.status == Some(401), "answered and not logged");
            return;
        };
        self.must(seen.id.as_ref().is_none_or(|id| *id == log.id), "logged under another id");
        let none = Vec::new();
        let billed = self.round.books.ledger.get(&log.id).unwrap_or(&none);
        self.tally.booked += billed.len() as u64;
        for row in billed {
            self.tally.count(&format!("ledger {}", row.outcome));
        }
        let is_interrupted = billed.last().is_some_and(|row| row.outcome == "interrupted");
        self.must(
            is_interrupted == (log.error.as_deref() == Some("interrupted")),
            "log and ledger differ about the interruption",
        );
        if is_interrupted {
            self.tally.interrupted += 1;
            self.must(was_under_way, "interrupted, and its gateway was not killed meanwhile");
            self.must(seen.end != End::Whole, "seen whole and interrupted");
        } else if seen.end == End::Whole {
            self.must(seen.status == Some(log.status), "another status");
            let last = self.served.last().map(|served| served.answer.ended);
            let is_served = billed.last().is_some_and(|row| row.outcome == "served");
            self.must(last != Some(Ending::Completed) || is_served, "seen whole and not booked as served");
        }
        if log.status == 429 && billed.is_empty() {
            self.tally.count("refused for a budget");
        }
        self.check_sums(log, billed);
        for (id, provider) in self.round.providers {
            self.check_provider(*id, provider, billed);
        }
        let is_numbered = billed.iter().zip(1..).all(|(row, number)| row.attempt == number);
        self.must(is_numbered, "attempts with a hole");
    }

    /// Was the gateway killed between the seat's call and what the gateway did for it last?
    fn was_killed(&self) -> bool {
        let seen = self.seen;
        // Of one that its seat left, the rest is read all the same.
        let is_read_on = seen.end == End::Left;
        let over_at = seen.over_at + if is_read_on { LONGEST_DRAIN } else { Duration::ZERO };
        let is_within = |kill: &Killed| seen.asked_at <= kill.to && over_at >= kill.from;
        self.round.kills[seen.node].iter().any(is_within)
    }

    fn check_sums(&mut self, log: &Logged, billed: &[Billed]) {
        let (mut tokens, mut cost) = (Tokens::default(), 0);
        for row in billed {
            tokens.add(row.tokens);
            cost += row.cost_nano_usd;
        }
        self.must(log.attempts == billed.len(), "the log counts other attempts");
        self.must((log.tokens, log.cost_nano_usd) == (tokens, cost), "the log is not the sum of the ledger");
    }

    /// The rows of one provider beside what it told, in their order.
    fn check_provider(&mut self, id: i64, provider: &Provider, billed: &[Billed]) {
        let rows: Vec<&Billed> = billed.iter().filter(|row| row.provider_id == id).collect();
        let is_its = |served: &&Served| {
            served.request.credentials().iter().any(|(_, s)| s.ends_with(&provider.secret))
        };
        let mut told: Vec<&Served> = self.served.iter().filter(is_its).collect();
        // A pooled connection that broke before the answer is replaced once, within the attempt.
        while told.len() > rows.len() {
            let again =
                told.iter().position(|one| one.answer.status.is_none() && one.answer.ended == Ending::Cut);
            match again {
                Some(place) => {
                    told.remove(place);
                    self.tally.count("sent again on a new connection");
                }
                None => return self.must(false, "the provider was asked more often than is booked"),
            }
        }
        let mut told = told.into_iter();
        for (place, row) in rows.iter().enumerate() {
            // Rows before which no request arrived there come first.
            let is_missing = rows.len() - place > told.len() && is_nothing_known(row);
            let told = if is_missing { None } else { told.next() };
            self.check_row(provider, row, told);
        }
    }

    fn check_row(&mut self, provider: &Provider, row: &Billed, told: Option<&Served>) {
        self.must(row.cost_nano_usd == cost(provider, row.tokens), "another cost");
        let Some(told) = told else {
            self.tally.count("attempts that did not reach the provider");
            return self.must(is_nothing_known(row), "booked, and the provider was not asked");
        };
        let answer = &told.answer;
        let usage = answer.usage.map(Tokens::from);
        let is_silent =
            told.request.header("x-sim-script").is_some_and(|script| script.contains("\"no_usage\":true"));
        match row.outcome.as_str() {
            "served" if is_cut_behind_all(answer) => self.tally.count("cut behind the last word"),
            "served" => {
                self.must(answer.ended == Ending::Completed, "served what the provider did not complete")
            }
            "failed" => self.must(answer.ended != Ending::Completed, "failed, and the provider completed it"),
            "drained" | "cancelled" => self.must(
                matches!(self.seen.end, End::Left | End::Broken),
                "read on for a seat that did not leave",
            ),
            "interrupted" => {}
            other => self.must(false, other),
        }
        let is_complete = matches!(row.outcome.as_str(), "served" | "drained");
        let is_completed = answer.ended == Ending::Completed || is_cut_behind_all(answer);
        if is_complete && is_completed && !is_silent {
            self.must(Some(row.tokens) == usage, "other tokens");
            self.must(!row.is_estimate, "told and booked as an estimate");
        } else if row.outcome == "served" {
            self.must(row.is_estimate && !row.tokens.is_nothing(), "not told and not an estimate");
        } else if matches!(row.outcome.as_str(), "failed" | "cancelled" | "drained") {
            // Of the half of a stream that it sent as one piece the provider does not know what that told.
            let is_half = self.seen.script.fake_success == Some(FakeSuccess::TruncatedJson);
            let half = self.seen.script.tokens().input;
            let input = answer.told.map_or(if is_half { half } else { 0 }, |told| told.input);
            // Of an answer that broke before the provider said so it is estimated.
            let was_left = row.outcome != "failed";
            let is_guess = row.is_estimate && (was_left || answer.told.is_none()) && answer.events > 0;
            let is_known = is_guess || [0, input].contains(&row.tokens.input_tokens);
            self.must(is_known, "an attempt without its end with other input");
            // Nobody who reads a part of an answer can say that it is all; the last word may have come, though.
            let is_whole = row.is_estimate || Some(row.tokens) == usage;
            self.must(!was_left || is_whole, "left, and neither an estimate nor what was told");
            self.must(
                answer.status.is_none_or(|s| s == 200) || row.tokens.is_nothing(),
                "a refusal is billed",
            );
        }
    }
}

/// How long the rest of an answer is read that its seat has left (design §5).
const LONGEST_DRAIN: Duration = Duration::from_secs(60);

/// True when all of an answer's words were there before its connection broke: `[DONE]` without its line end.
fn is_cut_behind_all(answer: &AnswerFacts) -> bool {
    answer.ended == Ending::Cut && answer.usage.is_some() && answer.told == answer.usage
}

fn is_nothing_known(row: &Billed) -> bool {
    row.outcome == "interrupted" || (row.tokens.is_nothing() && row.outcome != "served")
}

fn cost(provider: &Provider, tokens: Tokens) -> i64 {
    let prices = provider.api.prices();
    let items = [
        (tokens.input_tokens, prices.input),
        (tokens.cache_write_5m_tokens, prices.cache_write_5m),
        (tokens.cache_write_1h_tokens, prices.cache_write_1h),
        (tokens.cache_read_tokens, prices.cache_read),
        (tokens.output_tokens, prices.output),
    ];
    items.iter().map(|(tokens, price)| tokens.cast_signed() * price * provider.halves / 2).sum()
}
