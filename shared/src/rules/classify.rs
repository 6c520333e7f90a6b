//! What the end of one attempt means: whose fault it was, and what to do next (design §5, the classifier).
//!
//! One table. What the upstream's error *says* goes before its status, because relays put true causes under
//! wrong numbers. It is asked in this order:
//!
//! 1. words that speak of the account, the vendor or the model (`authentication_error`, `rate_limit_error`, …);
//! 2. a status that speaks of the account or the vendor alone: 401, 402, 403, 429, 529;
//! 3. the admins' rules ([`crate::rules::error_rules`]): the request's fault, under any other status, in an error event,
//!    and in an error under a 200;
//! 4. the status, or the type of an error event.
//!
//! So a rule can neither hide from an account that its key is dead or its rate used up, nor show that to a seat, however
//! broad its pattern. A 500 that says "prompt is too long" is another matter: that is what rules are for, because each
//! provider would be asked for nothing and each breaker would count a fault that is none of its own.
//!
//! Knows nothing of attempts made before (that is [`crate::rules::retry`]), breakers and
//! cool-downs (they read [`Verdict::class`]), or of how an error is written to a seat.
//!
//! | class | signs | next | cost work? |
//! |---|---|---|---|
//! | credential | 401, 402, 403; bodies such as `credit balance is too low`, `insufficient_quota` | next provider | no |
//! | rate limit | 429, `rate_limit_error`, `RESOURCE_EXHAUSTED` | next provider | no |
//! | overload | 529, `overloaded_error`, `server_is_overloaded` | next provider | no |
//! | model missing | `model_not_found`; 400, 403, 404 that say so of a model | next provider | no |
//! | not found | any other 404 | next provider | no |
//! | request's fault | a rule of the admins' | stop, body unmodified or the rule's | – |
//! | request's fault | 400, 413, 422 and the other 4xx; an error event of that type | stop, body unmodified | – |
//! | server | 5xx, 408, 409, 425, an error event of no other class | same provider again | yes |
//! | server | 3xx, 501, 505: no second try will differ | next provider | no |
//! | timeout | a timer of ours, 504, 524 | next provider, this one again if nobody is left | yes |
//! | fake success | 200 with an error, HTML or nothing | same provider again | yes |
//! | transport | connection failed | next provider | no |
//! | transport | connection cut after the request was sent | same provider again | yes |
//! | ours | the request could not be made | next provider | no |

mod facts;
mod words;

pub use facts::{ErrorFacts, retry_after_secs};

use crate::ids::ErrorRuleId;
use crate::rules::upstream::ProxyFailure;
use words::{
    ABSENT_ANYWHERE_PHRASES, CREDENTIAL_CODES, CREDENTIAL_PHRASES, LOST_RESPONSE_CODES,
    MISSING_WHEN_NAMED_PHRASES, MODEL_MISSING_CODES, MODEL_MISSING_PHRASES, NOT_FOUND_CODES, OVERLOAD_CODES,
    OVERLOAD_PHRASES, PERMISSION_CODES, RATE_LIMIT_CODES, REQUEST_FAULT_CODES, TIMEOUT_CODES,
};

/// How one attempt ended without an answer that could be relayed.
#[derive(Clone, Copy, Debug)]
pub enum AttemptEnd<'a> {
    /// No connection came about, so nothing was sent.
    ConnectFailed(ConnectFailure),
    /// A timer of ours ran out.
    TimedOut(TimerPhase),
    /// The connection broke after the request, or a part of it, was sent.
    Cut(CutPhase),
    /// A head that is no success.
    Status {
        /// The HTTP status.
        code: u16,
        /// What the body says; empty when it says nothing.
        facts: &'a ErrorFacts,
    },
    /// A success that is none.
    FakeSuccess {
        /// What gave it away.
        kind: FakeKind,
        /// What the error in it says, if there is one.
        facts: &'a ErrorFacts,
    },
    /// A stream whose first telling event was an error.
    StreamError {
        /// What the event says.
        facts: &'a ErrorFacts,
    },
    /// The request could not be made: a secret that does not open, a URL that does not join.
    Ours(&'static str),
}

/// Why no connection came about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ConnectFailure {
    /// The name has no address.
    Dns,
    /// Refused, reset, or no route.
    Refused,
    /// Not established in time.
    TimedOut,
    /// TLS could not be agreed on.
    Tls,
    /// The egress proxy did not open the way.
    Proxy(ProxyFailure),
}

/// What was waited for when a timer ran out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TimerPhase {
    /// The response's head.
    Head,
    /// The next sign of progress in a stream.
    Progress,
    /// The whole of a body that is no stream.
    Whole,
}

/// How far an answer had come when the connection broke.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CutPhase {
    /// No head.
    BeforeHead,
    /// A head, no content.
    BeforeContent,
    /// A part of the answer, which is the seat's already.
    AfterContent,
}

/// What gave a fake success away.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FakeKind {
    /// A web page.
    Html,
    /// An error document.
    Error,
    /// Nothing, or a stream that ended before any content.
    Empty,
    /// Bytes that are not of the dialect.
    Malformed,
}

/// What an attempt's end means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Verdict {
    /// Whose fault it was.
    pub class: FailureClass,
    /// What to do next, as far as this end alone tells.
    pub next: Next,
    /// True when the upstream may have worked for it, so that a re-send draws on the budget.
    pub may_have_cost_work: bool,
    /// A fixed word for the decision chain.
    pub label: &'static str,
    /// The admins' rule that made it the request's fault.
    pub rule: Option<ErrorRuleId>,
}

/// Whose fault a failure was.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum FailureClass {
    /// The account: its secret, its money, its rights.
    Credential,
    /// The account's rate.
    RateLimit,
    /// The vendor has no capacity. Never the account's fault.
    Overload,
    /// The account does not have this model.
    ModelMissing,
    /// The upstream does not know the path. Never counts against anybody.
    NotFound,
    /// The request; any provider would refuse it.
    RequestFault,
    /// The upstream broke.
    Server,
    /// The upstream took too long.
    Timeout,
    /// The upstream said success and meant failure.
    FakeSuccess,
    /// The network.
    Transport,
    /// This gateway.
    Ours,
}

impl FailureClass {
    /// The name used in logs and metrics.
    #[must_use]
    pub fn label(self) -> &'static str {
        match self {
            Self::Credential => "credential",
            Self::RateLimit => "rate_limit",
            Self::Overload => "overload",
            Self::ModelMissing => "model_missing",
            Self::NotFound => "not_found",
            Self::RequestFault => "request_fault",
            Self::Server => "server_error",
            Self::Timeout => "timeout",
            Self::FakeSuccess => "fake_success",
            Self::Transport => "transport",
            Self::Ours => "ours",
        }
    }

    /// The word a seat may read. That an account is out of money or rights is not its business.
    #[must_use]
    pub fn public_label(self) -> &'static str {
        match self {
            Self::Credential | Self::Ours => "provider_unavailable",
            Self::FakeSuccess => "invalid_upstream_answer",
            Self::RateLimit
            | Self::Overload
            | Self::ModelMissing
            | Self::NotFound
            | Self::RequestFault
            | Self::Server
            | Self::Timeout
            | Self::Transport => self.label(),
        }
    }
}

/// What to do after a failure. [`crate::rules::retry::Plan`] holds it against the bounds of the request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Next {
    /// The same provider may do better at once.
    RetrySameProvider,
    /// Another provider; asking this one again is useless.
    NextProvider,
    /// Another provider; this one again when nobody else is left.
    NextProviderElseSame,
    /// Relay what the upstream said, byte for byte.
    Stop,
}

/// Judges the end of an attempt. `model` is the name the provider was asked for.
#[must_use]
pub fn classify(end: &AttemptEnd<'_>, model: Option<&str>) -> Verdict {
    match end {
        AttemptEnd::ConnectFailed(why) => refused(FailureClass::Transport, connect_label(*why)),
        AttemptEnd::TimedOut(phase) => timed_out(timer_label(*phase)),
        AttemptEnd::Cut(CutPhase::BeforeHead) => again(FailureClass::Transport, "cut_before_head"),
        AttemptEnd::Cut(CutPhase::BeforeContent) => again(FailureClass::Transport, "cut_before_content"),
        AttemptEnd::Cut(CutPhase::AfterContent) => again(FailureClass::Transport, "cut_after_content"),
        AttemptEnd::Status { code, facts } => by_body(facts, Some(*code), model)
            .or_else(|| by_rule(facts, Some(*code)))
            .unwrap_or_else(|| by_status(*code)),
        AttemptEnd::StreamError { facts } => by_body(facts, None, model)
            .or_else(|| by_rule(facts, facts.status_like_code()))
            .unwrap_or_else(|| by_error_event(facts)),
        // Whoever answers 200 with "bad request" is not trusted to know a bad request, unless a rule knows it too.
        AttemptEnd::FakeSuccess { kind, facts } => by_body(facts, None, model)
            .or_else(|| by_rule(facts, facts.status_like_code()).filter(|_| *kind == FakeKind::Error))
            .unwrap_or_else(|| again(FailureClass::FakeSuccess, fake_label(*kind))),
        AttemptEnd::Ours(label) => refused(FailureClass::Ours, label),
    }
}

/// The rules on what an error says; they hold under any status, or as far as each of them states.
fn by_body(facts: &ErrorFacts, status: Option<u16>, model: Option<&str>) -> Option<Verdict> {
    let is_missing_status = matches!(status, None | Some(400 | 403 | 404));
    let is_breakdown = status.is_none_or(|code| code >= 500);
    if facts.is_named(CREDENTIAL_CODES) || facts.says(CREDENTIAL_PHRASES) {
        return Some(refused(FailureClass::Credential, "credential"));
    }
    if facts.is_named(OVERLOAD_CODES) || (is_breakdown && facts.says(OVERLOAD_PHRASES)) {
        return Some(refused(FailureClass::Overload, "overloaded"));
    }
    if facts.is_named(RATE_LIMIT_CODES) {
        return Some(refused(FailureClass::RateLimit, "rate_limited"));
    }
    // Before the model rule: under a 404 it says "not found" of an id that may have a model's name in it.
    if facts.is_named(LOST_RESPONSE_CODES) {
        return Some(STOP);
    }
    if facts.is_named(MODEL_MISSING_CODES)
        || facts.says(ABSENT_ANYWHERE_PHRASES)
        || (is_missing_status && is_about_a_missing_model(facts, status, model))
    {
        return Some(refused(FailureClass::ModelMissing, "model_missing"));
    }
    // After the model rule: a 403 `permission_error` may be about one model only.
    facts.is_named(PERMISSION_CODES).then(|| refused(FailureClass::Credential, "credential"))
}

/// The admins' rules, where the status leaves them a say.
fn by_rule(facts: &ErrorFacts, status: Option<u16>) -> Option<Verdict> {
    let is_about_others = status.is_some_and(|code| code < 400 || matches!(code, 401..=403 | 429 | 529));
    let rule = facts.rule().filter(|_| !is_about_others)?;
    Some(Verdict { label: RULE_LABEL, rule: Some(rule), ..STOP })
}

fn is_about_a_missing_model(facts: &ErrorFacts, status: Option<u16>, model: Option<&str>) -> bool {
    let names_model = model.is_some_and(|model| facts.mentions(model));
    // A 404 that names the model says enough (`model: claude-x`). Other statuses also refuse *features* of a
    // model by its name (`max_tokens is too large for claude-x`), so they must say that the model is missing.
    facts.says(MODEL_MISSING_PHRASES)
        || names_model && (status == Some(404) || facts.says(MISSING_WHEN_NAMED_PHRASES))
}

fn by_status(code: u16) -> Verdict {
    match code {
        401..=403 => refused(FailureClass::Credential, "credential"),
        404 => refused(FailureClass::NotFound, "not_found"),
        408 | 409 | 425 => again(FailureClass::Server, "server_error"),
        429 => refused(FailureClass::RateLimit, "rate_limited"),
        400..=499 => STOP,
        501 | 505 => refused(FailureClass::Server, "server_error"),
        504 | 524 => timed_out("timeout_upstream"),
        529 => refused(FailureClass::Overload, "overloaded"),
        300..=399 => refused(FailureClass::Server, "redirected"),
        500.. => again(FailureClass::Server, "server_error"),
        // A success handed in as a failure: whoever did so could not use it.
        ..=299 => again(FailureClass::FakeSuccess, "fake_success_malformed"),
    }
}

/// An error event has no status of its own; its code or type stands for one.
fn by_error_event(facts: &ErrorFacts) -> Verdict {
    if let Some(code) = facts.status_like_code() {
        return by_status(code);
    }
    if facts.is_named(REQUEST_FAULT_CODES) || facts.has_code_prefix("invalid_") {
        return STOP;
    }
    if facts.is_named(NOT_FOUND_CODES) {
        return by_status(404);
    }
    if facts.is_named(TIMEOUT_CODES) {
        return by_status(504);
    }
    again(FailureClass::Server, "stream_error")
}

/// A refusal before work: the next provider.
fn refused(class: FailureClass, label: &'static str) -> Verdict {
    Verdict { class, next: Next::NextProvider, may_have_cost_work: false, label, rule: None }
}

/// A failure in the middle of work: the same provider again.
fn again(class: FailureClass, label: &'static str) -> Verdict {
    Verdict { class, next: Next::RetrySameProvider, may_have_cost_work: true, label, rule: None }
}

/// Whoever kept the seat waiting once is asked again only when nobody else can be.
fn timed_out(label: &'static str) -> Verdict {
    Verdict {
        class: FailureClass::Timeout,
        next: Next::NextProviderElseSame,
        may_have_cost_work: true,
        label,
        rule: None,
    }
}

fn connect_label(why: ConnectFailure) -> &'static str {
    match why {
        ConnectFailure::Dns => "connect_dns",
        ConnectFailure::Refused => "connect_refused",
        ConnectFailure::TimedOut => "connect_timeout",
        ConnectFailure::Tls => "connect_tls",
        ConnectFailure::Proxy(why) => why.label(),
    }
}

fn timer_label(phase: TimerPhase) -> &'static str {
    match phase {
        TimerPhase::Head => "timeout_head",
        TimerPhase::Progress => "timeout_progress",
        TimerPhase::Whole => "timeout_whole",
    }
}

fn fake_label(kind: FakeKind) -> &'static str {
    match kind {
        FakeKind::Html => "fake_success_html",
        FakeKind::Error => "fake_success_error",
        FakeKind::Empty => "fake_success_empty",
        FakeKind::Malformed => "fake_success_malformed",
    }
}

const STOP: Verdict = Verdict {
    class: FailureClass::RequestFault,
    next: Next::Stop,
    may_have_cost_work: false,
    label: "request_fault",
    rule: None,
};

/// What the decision chain says of an end that a rule decided.
const RULE_LABEL: &str = "error_rule";

#[cfg(test)]
mod tests;
