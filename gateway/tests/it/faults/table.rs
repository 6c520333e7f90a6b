//! The matrix as it is declared: what each fault does, in each dialect and mode, with one provider and with another one
//! that is well.
//!
//! A row says what one attempt at the failing provider comes to ([`Means`]) and how often it is asked; what the seat
//! gets alone and beside another follows from it in [`Row::declared`], and only there.

use super::seen::{Bill, Breaker, Cooling, Log, Mode, Seat, Seen, THRESHOLD, Try, Words};
use shared::contract::breaker::CoolKind;
use shared::contract::usage::Outcome;
use shared::model::Timers;
use shared::protocol::Dialect;
use simulator::Script;
use std::ops::RangeInclusive;

/// A fault.
pub struct Row {
    /// As the document calls it.
    pub fault: &'static str,
    pub how: How,
    pub timers: Timers,
    /// Where it exists.
    pub modes: &'static [Mode],
    pub dialects: &'static [Dialect],
    pub means: fn(Dialect, Mode) -> Means,
}

/// What is wrong with the provider.
pub enum How {
    /// Nobody listens.
    Refuses,
    /// Its certificate is nobody's we trust.
    Untrusted,
    /// It answers a TLS handshake with something else.
    SpeaksNoTls,
    Plays(Box<Script>),
}

/// Who else is there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Company {
    Alone,
    /// Another provider that is well, in the next tier.
    WithAnother,
}

impl Company {
    pub const ALL: [Self; 2] = [Self::Alone, Self::WithAnother];
}

/// What an attempt comes to.
pub struct Means {
    /// The chain's word, and the upstream's status.
    pub result: (&'static str, Option<u16>),
    pub bill: Bill,
    pub asked: Asked,
    pub then: Then,
    /// The seconds that our own answer asks to wait.
    pub wait_secs: RangeInclusive<u64>,
    /// It counts for the breaker.
    pub counts: bool,
    pub cooling: Option<Cooling>,
}

/// How often the failing provider is asked.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Asked {
    Once,
    /// Twice in a row, also with another one there.
    Twice,
    /// Again only when nobody else is there.
    TwiceWhenAlone,
}

/// What the seat gets.
pub enum Then {
    /// The other's answer; with nobody there our 503 that names this class.
    Next(&'static str),
    /// The other's answer; with nobody there our 429.
    NextRate,
    /// The other's answer; with nobody there its own words.
    NextOrRefusal(u16),
    /// Its own words, whoever else is there.
    Refusal(u16),
    /// Its answer.
    Served,
    /// Its stream, with its error in it.
    ServedWithError,
    /// What came of its stream, then our error: `true` when a timer ended it.
    Broken { by_timer: bool },
}

impl Row {
    pub fn has(&self, dialect: Dialect, mode: Mode) -> bool {
        self.dialects.contains(&dialect) && self.modes.contains(&mode)
    }

    /// The cell.
    pub fn declared(&self, dialect: Dialect, mode: Mode, company: Company) -> Seen {
        let means = (self.means)(dialect, mode);
        let is_alone = company == Company::Alone;
        let times = match means.asked {
            Asked::Once => 1,
            Asked::TwiceWhenAlone if !is_alone => 1,
            Asked::Twice | Asked::TwiceWhenAlone => 2,
        };
        let (result, status) = means.result;
        let once = Try { provider: 1, result: result.to_owned(), status, bill: means.bill };
        let mut tries = vec![once; times];
        let moves_on = match means.then {
            Then::Next(_) | Then::NextRate | Then::NextOrRefusal(_) => !is_alone,
            Then::Refusal(_) | Then::Served | Then::ServedWithError | Then::Broken { .. } => false,
        };
        let (seat, log) = if moves_on {
            tries.push(Try { provider: 2, result: "served".to_owned(), status: Some(200), bill: SERVED });
            (Seat::Second, logged(200, None, None))
        } else {
            ending(dialect, &means.then, means.wait_secs)
        };
        let failures = if means.counts { u32::try_from(times).unwrap_or(u32::MAX) } else { 0 };
        let breaker = if failures >= THRESHOLD { Breaker::Open } else { Breaker::Closed { failures } };
        Seen { seat, log, tries, breaker, cooling: means.cooling }
    }
}

/// What the seat gets of the failing provider, and what the log says of it.
fn ending(dialect: Dialect, then: &Then, wait_secs: RangeInclusive<u64>) -> (Seat, Log) {
    match then {
        Then::Next(class) => {
            let words = none_left(dialect, class);
            let seat = Seat::Ours { status: 503, words, wait_secs, should_retry: true };
            (seat, logged(503, None, Some("no_available_providers")))
        }
        Then::NextRate => {
            let words = rate_limited(dialect);
            let seat = Seat::Ours { status: 429, words, wait_secs, should_retry: true };
            (seat, logged(429, None, Some("providers_rate_limited")))
        }
        Then::NextOrRefusal(status) | Then::Refusal(status) => {
            (Seat::Refused(*status), logged(*status, None, None))
        }
        Then::Served => (Seat::First, logged(200, None, None)),
        Then::ServedWithError => (Seat::FirstWithItsError, logged(200, Some("upstream_error"), None)),
        Then::Broken { by_timer: false } => {
            (Seat::Broken(broken(dialect)), logged(200, Some("upstream_cut"), None))
        }
        Then::Broken { by_timer: true } => {
            (Seat::Broken(stalled(dialect)), logged(200, Some("upstream_timed_out"), None))
        }
    }
}

pub fn none_left(dialect: Dialect, class: &str) -> Words {
    let (kind, code) = match dialect {
        Dialect::Anthropic => ("api_error", None),
        Dialect::OpenaiChat | Dialect::OpenaiResponses => ("server_error", Some("no_available_providers")),
        Dialect::Gemini => ("UNAVAILABLE", Some("no_available_providers")),
    };
    say(kind, code, &format!("No available providers: {class}."))
}

pub fn rate_limited(dialect: Dialect) -> Words {
    let (kind, code) = match dialect {
        Dialect::Anthropic => ("rate_limit_error", None),
        Dialect::OpenaiChat | Dialect::OpenaiResponses => {
            ("rate_limit_error", Some("providers_rate_limited"))
        }
        Dialect::Gemini => ("RESOURCE_EXHAUSTED", Some("providers_rate_limited")),
    };
    say(kind, code, "All providers are at their rate limit; try again later.")
}

pub fn broken(dialect: Dialect) -> Words {
    let (kind, code) = match dialect {
        Dialect::Anthropic => ("api_error", None),
        Dialect::OpenaiChat => ("server_error", Some("server_error")),
        Dialect::OpenaiResponses => ("response.failed", Some("server_error")),
        Dialect::Gemini => ("INTERNAL", None),
    };
    say(kind, code, "The provider's stream broke; please try again.")
}

pub fn stalled(dialect: Dialect) -> Words {
    let (kind, code) = match dialect {
        Dialect::Anthropic => ("timeout_error", None),
        Dialect::OpenaiChat => ("server_error", Some("timeout")),
        Dialect::OpenaiResponses => ("response.failed", Some("timeout")),
        Dialect::Gemini => ("DEADLINE_EXCEEDED", None),
    };
    say(kind, code, "The provider stopped sending; please try again.")
}

fn logged(status: u16, error: Option<&str>, blocked_by: Option<&str>) -> Log {
    Log { status, error: error.map(str::to_owned), blocked_by: blocked_by.map(str::to_owned) }
}

fn say(kind: &str, code: Option<&str>, message: &str) -> Words {
    Words { kind: kind.to_owned(), code: code.map(str::to_owned), message: message.to_owned() }
}

impl Means {
    pub fn new(result: &'static str, asked: Asked, then: Then) -> Self {
        let result = (result, None);
        Self { result, bill: UNKNOWN, asked, then, wait_secs: 5..=5, counts: false, cooling: None }
    }

    /// The upstream refused with this status: it took nothing.
    pub fn status(self, status: u16) -> Self {
        Self { result: (self.result.0, Some(status)), bill: NOTHING, ..self }
    }

    pub fn bill(self, bill: Bill) -> Self {
        Self { bill, ..self }
    }

    /// It says how long to wait.
    pub fn waits(self, wait_secs: RangeInclusive<u64>) -> Self {
        Self { wait_secs, ..self }
    }

    pub fn counts(self) -> Self {
        Self { counts: true, ..self }
    }

    /// Of the whole provider, or of the model alone.
    pub fn cools(self, kind: CoolKind, of_model: bool, millis: RangeInclusive<u64>) -> Self {
        Self { cooling: Some(Cooling { kind, of_model, millis }), ..self }
    }

    /// The account is refused: the next provider, five minutes of rest.
    pub fn credential() -> Self {
        Self::new("credential", Asked::Once, Then::Next("provider_unavailable")).counts().cools(
            CoolKind::Credential,
            false,
            300_000..=300_000,
        )
    }

    /// The vendor has no capacity: the next provider, about two seconds in which it comes last.
    pub fn overload() -> Self {
        Self::new("overloaded", Asked::Once, Then::Next("overload")).cools_for_overload()
    }

    pub fn cools_for_overload(self) -> Self {
        self.cools(CoolKind::Overload, true, 1_500..=2_500)
    }

    /// It broke: once more, then the next.
    pub fn server(label: &'static str) -> Self {
        Self::new(label, Asked::Twice, Then::Next("server_error")).counts()
    }

    /// It took too long: the next, or itself once more.
    pub fn timeout(label: &'static str) -> Self {
        Self::new(label, Asked::TwiceWhenAlone, Then::Next("timeout")).counts()
    }

    /// The network broke: once more, then the next.
    pub fn cut(label: &'static str) -> Self {
        Self::new(label, Asked::Twice, Then::Next("transport"))
    }

    /// It said success and meant failure: once more, then the next.
    pub fn fake(label: &'static str) -> Self {
        Self::new(label, Asked::Twice, Then::Next("invalid_upstream_answer")).counts()
    }

    /// The gate has opened: the answer is the seat's, and broke in its hands.
    pub fn committed(label: &'static str, then: Then, bill: Bill) -> Self {
        Self { bill, ..Self::new(label, Asked::Once, then) }.at_200()
    }

    /// It got an answer.
    pub fn served() -> Self {
        Self::committed("served", Then::Served, SERVED)
    }

    fn at_200(self) -> Self {
        Self { result: (self.result.0, Some(200)), ..self }
    }
}

/// Pieces of text in an answer of the failing provider.
pub const PIECES: u32 = 20;
/// What the provider that is well tells of each answer.
pub const SERVED: Bill = Bill::of(Outcome::Served, 25, 12, false);
/// It refused before any work.
pub const NOTHING: Bill = Bill::of(Outcome::Failed, 0, 0, false);
/// It may have worked and told nothing.
pub const UNKNOWN: Bill = Bill::of(Outcome::Failed, 0, 0, true);

/// The failed attempt told, or let guess, so much.
pub const fn guessed(input: u64, output: u64) -> Bill {
    Bill::of(Outcome::Failed, input, output, true)
}

/// The timers of a provider that is to be waited for in a test.
pub const SHORT_MS: u64 = 300;
/// Long enough for what comes at once to have come on a busy machine.
pub const PATIENT_MS: u64 = 1_500;
