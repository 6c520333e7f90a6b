//! What one cell declares and what is seen of it: the same type, so that they can be held against each other, and its
//! words, which are those of the document.

use shared::contract::breaker::CoolKind;
use shared::contract::usage::Outcome;
use shared::model::price::{ModelPrice, Rates};
use shared::money::{NanoUsd, PicoUsd};
use shared::protocol::Dialect;
use std::fmt;
use std::ops::RangeInclusive;

/// What is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Mode {
    Stream,
    Whole,
}

impl Mode {
    pub const ALL: [Self; 2] = [Self::Stream, Self::Whole];
}

/// All that a fault does.
#[derive(Clone, Debug, PartialEq)]
pub struct Seen {
    pub seat: Seat,
    pub log: Log,
    /// The chain's attempts, each with its ledger row.
    pub tries: Vec<Try>,
    /// Of the provider that fails.
    pub breaker: Breaker,
    pub cooling: Option<Cooling>,
}

/// The log row.
#[derive(Clone, Debug, PartialEq)]
pub struct Log {
    pub status: u16,
    pub error: Option<String>,
    pub blocked_by: Option<String>,
}

/// What the seat gets.
#[derive(Clone, Debug, PartialEq)]
pub enum Seat {
    /// The first provider's answer, byte for byte.
    First,
    /// The other provider's answer, byte for byte.
    Second,
    /// The first one's refusal under its status, byte for byte.
    Refused(u16),
    /// The first one's stream with the error in it, byte for byte.
    FirstWithItsError,
    /// What the first one sent, byte for byte, then an error event of ours.
    Broken(Words),
    /// Our own answer.
    Ours { status: u16, words: Words, wait_secs: RangeInclusive<u64>, should_retry: bool },
    /// None of these. Never declared.
    Else(String),
}

/// An error in dialect.
#[derive(Clone, Debug, PartialEq)]
pub struct Words {
    /// Anthropic's and OpenAI's `type`, Google's `status`.
    pub kind: String,
    /// `code`, Google's `reason`.
    pub code: Option<String>,
    pub message: String,
}

/// An attempt.
#[derive(Clone, Debug, PartialEq)]
pub struct Try {
    /// 1 or 2.
    pub provider: i64,
    /// The chain's word.
    pub result: String,
    /// The upstream's status.
    pub status: Option<u16>,
    pub bill: Bill,
}

/// A ledger row.
#[derive(Clone, Debug, PartialEq)]
pub struct Bill {
    pub outcome: Outcome,
    pub input: u64,
    pub output: u64,
    pub is_estimate: bool,
    pub cost: NanoUsd,
}

impl Bill {
    /// At [`price`]s, for all that was told or guessed.
    pub const fn of(outcome: Outcome, input: u64, output: u64, is_estimate: bool) -> Self {
        let cost = NanoUsd((INPUT_NANO_USD * input + OUTPUT_NANO_USD * output).cast_signed());
        Self { outcome, input, output, is_estimate, cost }
    }
}

/// What each model costs here.
pub fn price() -> ModelPrice {
    let a_token = |nano_usd: u64| Some(PicoUsd(nano_usd * 1_000));
    let base = Rates { input: a_token(INPUT_NANO_USD), output: a_token(OUTPUT_NANO_USD), ..Rates::default() };
    ModelPrice { base, ..ModelPrice::default() }
}

/// For a token.
pub const INPUT_NANO_USD: u64 = 3_000;
/// For a token.
pub const OUTPUT_NANO_USD: u64 = 15_000;

/// The breaker; its provider's threshold is [`THRESHOLD`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Breaker {
    Closed { failures: u32 },
    Open,
    HalfOpen,
}

/// A cool-down.
#[derive(Clone, Debug, PartialEq)]
pub struct Cooling {
    pub kind: CoolKind,
    /// Of the requested model alone.
    pub of_model: bool,
    /// How long; as seen, a single value.
    pub millis: RangeInclusive<u64>,
}

/// `circuit_breaker_failure_threshold` of the provider that fails.
pub const THRESHOLD: u32 = 2;

/// Numbers of a store run ahead of its clock when much is told in one millisecond.
const AHEAD_MS: u64 = 500;

impl Seen {
    /// What of this is not as declared.
    pub fn differences(&self, declared: &Self) -> Vec<String> {
        let mut all = Vec::new();
        let mut note = |what: &str, is_same: bool, seen: String, declared: String| {
            if !is_same {
                all.push(format!("{what}: declared {declared}, seen {seen}"));
            }
        };
        let told = |seat: &Seat| format!("{seat:?}");
        note("seat", self.seat.is_as(&declared.seat), told(&self.seat), told(&declared.seat));
        note("log", self.log == declared.log, format!("{:?}", self.log), format!("{:?}", declared.log));
        let told_try = |one: &Try| format!("{one} [{}]", one.bill);
        let tries = |tries: &[Try]| tries.iter().map(told_try).collect::<Vec<_>>().join(", ");
        note("tries", self.tries == declared.tries, tries(&self.tries), tries(&declared.tries));
        let breaker = |breaker: Breaker| format!("{breaker:?}");
        note("breaker", self.breaker == declared.breaker, breaker(self.breaker), breaker(declared.breaker));
        let is_same = match (&self.cooling, &declared.cooling) {
            (None, None) => true,
            (Some(seen), Some(declared)) => seen.is_as(declared),
            (Some(_), None) | (None, Some(_)) => false,
        };
        note("cool-down", is_same, format!("{:?}", self.cooling), format!("{:?}", declared.cooling));
        all
    }
}

impl Seat {
    fn is_as(&self, declared: &Self) -> bool {
        match (self, declared) {
            (
                Self::Ours { status, words, wait_secs, should_retry },
                Self::Ours { status: status2, words: words2, wait_secs: within, should_retry: should2 },
            ) => {
                (status, words, should_retry) == (status2, words2, should2)
                    && within.contains(wait_secs.start())
            }
            (seen, declared) => seen == declared,
        }
    }
}

impl Cooling {
    fn is_as(&self, declared: &Self) -> bool {
        (self.kind, self.of_model) == (declared.kind, declared.of_model)
            && self.millis.start() + AHEAD_MS >= *declared.millis.start()
            && self.millis.end() <= declared.millis.end()
    }
}

impl fmt::Display for Seat {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::First => f.write_str("its answer, whole"),
            Self::Second => f.write_str("the other's answer, whole"),
            Self::Refused(status) => write!(f, "{status}, its own words"),
            Self::FirstWithItsError => f.write_str("its stream, its error event in it"),
            Self::Broken(words) => write!(f, "what came, then {words}"),
            Self::Ours { status, words, wait_secs, should_retry } => {
                let wait = span(wait_secs, 1);
                let retry = if *should_retry { "retry" } else { "no retry" };
                write!(f, "{status} {words}; {retry} after {wait}")
            }
            Self::Else(what) => f.write_str(what),
        }
    }
}

/// The text alone: it is the same in all dialects.
impl fmt::Display for Words {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "“{}”", self.message)
    }
}

impl fmt::Display for Try {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: `{}`", if self.provider == 1 { "it" } else { "other" }, self.result)?;
        match self.status {
            Some(status) => write!(f, " {status}"),
            None => Ok(()),
        }
    }
}

impl fmt::Display for Bill {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let about = if self.is_estimate { " ≈" } else { "" };
        let micros = self.cost.0 / 1_000;
        write!(f, "{}{about} {}/{} {micros} µ$", self.outcome.as_str(), self.input, self.output)
    }
}

impl fmt::Display for Breaker {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Closed { failures } => write!(f, "closed, {failures}"),
            Self::Open => f.write_str("**open**"),
            Self::HalfOpen => f.write_str("half open"),
        }
    }
}

impl fmt::Display for Cooling {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let scope = if self.of_model { "model" } else { "provider" };
        write!(f, "{}, {scope}, {}", self.kind.label(), span(&self.millis, 1_000))
    }
}

/// Seconds; `a–b` when they differ.
fn span(all: &RangeInclusive<u64>, unit: u64) -> String {
    let tenths = |value: u64| {
        let tenths = value * 10 / unit;
        if tenths.is_multiple_of(10) {
            (tenths / 10).to_string()
        } else {
            format!("{}.{}", tenths / 10, tenths % 10)
        }
    };
    let (least, most) = (tenths(*all.start()), tenths(*all.end()));
    if least == most { format!("{least} s") } else { format!("{least}–{most} s") }
}

pub fn name(dialect: Dialect) -> &'static str {
    match dialect {
        Dialect::Anthropic => "Anthropic",
        Dialect::OpenaiChat => "chat",
        Dialect::OpenaiResponses => "Responses",
        Dialect::Gemini => "Gemini",
    }
}
