//! What an answer means, in three tiers: it is one, it came soon enough, it says what was asked for.

use super::EXPECTED;
use super::text::text_of;
use crate::contract::usage::TokenUsage;
use crate::protocol::detect::Family;
use crate::protocol::tally::UsageState;
use crate::protocol::tap::{Framing, StreamTap, TapOptions};
use crate::protocol::whole::{self, Expect, WholeVerdict, read_error};
use crate::rules::classify::{AttemptEnd, CutPhase, ErrorFacts, FakeKind, classify};
use crate::rules::gate::{Gate, GateFailure, GateVerdict};
use bytes::Bytes;

/// An answer, read as far as it was read.
#[derive(Clone, Debug)]
pub struct Answered {
    /// The HTTP status.
    pub status: u16,
    /// `content-type`.
    pub content_type: String,
    /// The body, decoded.
    pub body: Bytes,
    /// How the body ended.
    pub end: BodyEnd,
    /// Milliseconds from the start of the connection to the end of the body.
    pub total_ms: u64,
}

/// How a body ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BodyEnd {
    /// As it should.
    Complete,
    /// The connection broke.
    Cut,
    /// More came than is read.
    TooLong,
    /// The reader hung up: what a stream begins with is real ([`Beginning`]).
    Enough,
}

/// How good it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Grade {
    /// All that was asked for.
    Ok,
    /// It serves, with something to look at.
    Degraded,
    /// It would not serve.
    Failed,
}

/// The tiers; `None`: it did not come to that.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Checks {
    /// A success, and an answer.
    pub status: bool,
    /// Within the limit.
    pub latency: Option<bool>,
    /// Says what was asked for.
    pub content: Option<bool>,
}

/// What an answer, or its absence, means.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Judged {
    /// How good it is.
    pub grade: Grade,
    /// A fixed word: `ok`, `slow`, `unexpected_content`, or whose fault it was, as in the log (`credential`, …).
    pub reason: &'static str,
    /// A fixed word that says it closer, as in the decision chain.
    pub label: &'static str,
    /// The tiers.
    pub checks: Checks,
    /// The model that the answer names.
    pub model: Option<String>,
    /// What the answer counted, if it did.
    pub usage: Option<TokenUsage>,
    /// What the answer says.
    pub text: String,
    /// The provider's own words of what is wrong.
    pub error: Option<String>,
}

impl Judged {
    /// True when seats would be served.
    #[must_use]
    pub fn is_answer(&self) -> bool {
        match self.grade {
            Grade::Ok | Grade::Degraded => true,
            Grade::Failed => false,
        }
    }
}

/// The beginning of a stream as it arrives, for a reader who wants to know whether it is real, not what it says.
pub struct Beginning {
    tap: StreamTap,
    gate: Gate,
}

impl Beginning {
    /// Of a success of this type; `None` when it is no stream.
    #[must_use]
    pub fn new(family: Family, content_type: &str) -> Option<Self> {
        let tap = StreamTap::new(family.dialect(), framing(family, content_type)?, TapOptions::default());
        Some(Self { tap, gate: Gate::new() })
    }

    /// True when a seat would get it by now. One that fails goes on to its end.
    pub fn is_real(&mut self, piece: Bytes) -> bool {
        matches!(self.gate.push(self.tap.push(piece)), GateVerdict::Open(_))
    }
}

/// Judges an answer to a preset's question. `model` is the one that the provider was asked for.
#[must_use]
pub fn judge(answered: &Answered, family: Family, model: &str, latency_limit_ms: u64) -> Judged {
    if !(200..300).contains(&answered.status) {
        let facts = ErrorFacts::read(&answered.body);
        let end = AttemptEnd::Status { code: answered.status, facts: &facts };
        return Judged { error: words(&answered.body), ..judge_end(&end, model) };
    }
    let framing = framing(family, &answered.content_type);
    let mut judged = match framing {
        Some(framing) => stream(answered, family, framing, model),
        None => whole_body(answered, family, model),
    };
    if judged.grade == Grade::Failed {
        return judged;
    }
    judged.text = text_of(family.dialect(), framing, &answered.body);
    let is_in_time = answered.total_ms <= latency_limit_ms;
    let is_expected = judged.text.to_lowercase().contains(EXPECTED);
    judged.checks = Checks { status: true, latency: Some(is_in_time), content: Some(is_expected) };
    if !(is_in_time && is_expected) {
        judged.grade = Grade::Degraded;
        judged.reason = if is_expected { "slow" } else { "unexpected_content" };
        judged.label = judged.reason;
    }
    judged
}

/// Judges the absence of an answer.
#[must_use]
pub fn judge_end(end: &AttemptEnd<'_>, model: &str) -> Judged {
    let verdict = classify(end, Some(model));
    Judged {
        grade: Grade::Failed,
        reason: verdict.class.label(),
        label: verdict.label,
        checks: Checks::default(),
        model: None,
        usage: None,
        text: String::new(),
        error: None,
    }
}

/// How a success is cut into events, when it is a stream.
fn framing(family: Family, content_type: &str) -> Option<Framing> {
    let content_type = content_type.to_ascii_lowercase();
    if content_type.starts_with("text/event-stream") {
        Some(Framing::Sse)
    } else if family == Family::GeminiStreamGenerate && content_type.contains("json") {
        Some(Framing::JsonArray)
    } else {
        None
    }
}

fn stream(answered: &Answered, family: Family, framing: Framing, model: &str) -> Judged {
    let mut tap = StreamTap::new(family.dialect(), framing, TapOptions::default());
    let mut gate = Gate::new();
    let mut verdict = gate.push(tap.push(answered.body.clone()));
    if verdict == GateVerdict::Hold {
        let rest = tap.end();
        verdict = if answered.end == BodyEnd::Complete { gate.end(rest) } else { gate.cut(rest) };
    } else {
        tap.end();
    }
    let facts = tap.facts();
    let none = ErrorFacts::default();
    let told = facts.error.as_ref().map(|error| error.payload.as_slice());
    let error = || Judged {
        error: words(told.unwrap_or_default()),
        ..judge_end(&AttemptEnd::StreamError { facts: &ErrorFacts::read(told.unwrap_or_default()) }, model)
    };
    let fake = |kind| Judged {
        error: words(&answered.body),
        ..judge_end(&AttemptEnd::FakeSuccess { kind, facts: &none }, model)
    };
    match verdict {
        GateVerdict::Fail(GateFailure::ErrorEvent) => return error(),
        GateVerdict::Fail(GateFailure::Empty) | GateVerdict::Hold => return fake(FakeKind::Empty),
        GateVerdict::Fail(GateFailure::Malformed | GateFailure::Overflow) => {
            return fake(FakeKind::Malformed);
        }
        GateVerdict::Fail(GateFailure::Cut) => {
            return judge_end(&AttemptEnd::Cut(CutPhase::BeforeContent), model);
        }
        // What a seat would have got the beginning of.
        GateVerdict::Open(_) if facts.error.is_some() => return error(),
        GateVerdict::Open(_) if answered.end == BodyEnd::TooLong => return too_long(model),
        GateVerdict::Open(_) if !facts.ended && answered.end != BodyEnd::Enough => {
            let cut = judge_end(&AttemptEnd::Cut(CutPhase::BeforeContent), model);
            return Judged { label: "cut_mid_stream", ..cut };
        }
        GateVerdict::Open(_) => {}
    }
    let usage = (facts.usage_state() == UsageState::Final).then(|| facts.usage());
    good(facts.model.clone(), usage)
}

fn whole_body(answered: &Answered, family: Family, model: &str) -> Judged {
    match answered.end {
        BodyEnd::Complete | BodyEnd::Enough => {}
        BodyEnd::Cut => return judge_end(&AttemptEnd::Cut(CutPhase::BeforeContent), model),
        BodyEnd::TooLong => return too_long(model),
    }
    let facts = whole::read(family.dialect(), Expect::Generation, &answered.body);
    let kind = match facts.verdict {
        WholeVerdict::Fine => {
            let usage = (facts.usage_state == UsageState::Final).then_some(facts.usage);
            return good(facts.model, usage);
        }
        WholeVerdict::ErrorInside => FakeKind::Error,
        WholeVerdict::Html => FakeKind::Html,
        WholeVerdict::Empty => FakeKind::Empty,
        WholeVerdict::NotJson => FakeKind::Malformed,
    };
    let end = AttemptEnd::FakeSuccess { kind, facts: &ErrorFacts::read(&answered.body) };
    Judged { error: words(&answered.body), ..judge_end(&end, model) }
}

fn good(model: Option<String>, usage: Option<TokenUsage>) -> Judged {
    Judged {
        grade: Grade::Ok,
        reason: "ok",
        label: "ok",
        checks: Checks::default(),
        model,
        usage,
        text: String::new(),
        error: None,
    }
}

fn too_long(model: &str) -> Judged {
    let end = AttemptEnd::FakeSuccess { kind: FakeKind::Malformed, facts: &ErrorFacts::default() };
    Judged { label: "answer_too_long", ..judge_end(&end, model) }
}

/// The provider's own words: the message of its error document, else the document.
fn words(body: &[u8]) -> Option<String> {
    let told = read_error(body).facts;
    let said = told.message.map(|message| message.into_owned());
    said.or_else(|| {
        let text = String::from_utf8_lossy(body.get(..WORDS_READ).unwrap_or(body)).trim().to_owned();
        (!text.is_empty()).then_some(text)
    })
}

const WORDS_READ: usize = 8 << 10;

#[cfg(test)]
mod tests {
    use super::*;

    fn answered(status: u16, content_type: &str, body: &str) -> Answered {
        Answered {
            status,
            content_type: content_type.to_owned(),
            body: Bytes::copy_from_slice(body.as_bytes()),
            end: BodyEnd::Complete,
            total_ms: 100,
        }
    }

    fn message(text: &str) -> String {
        format!(
            r#"{{"type":"message","model":"m","content":[{{"type":"text","text":"{text}"}}],"stop_reason":"end_turn","usage":{{"input_tokens":3,"output_tokens":2}}}}"#
        )
    }

    const JSON: &str = "application/json";

    #[test]
    fn an_answer_passes_three_tiers() {
        let family = Family::AnthropicMessages;
        let good = judge(&answered(200, JSON, &message("Pong!")), family, "m", 5_000);
        assert_eq!((good.grade, good.reason, good.text.as_str()), (Grade::Ok, "ok", "Pong!"));
        assert_eq!(good.usage.map(|usage| usage.output_tokens), Some(2));
        let slow = Answered { total_ms: 5_001, ..answered(200, JSON, &message("pong")) };
        let slow = judge(&slow, family, "m", 5_000);
        assert_eq!((slow.grade, slow.reason), (Grade::Degraded, "slow"));
        let other = judge(&answered(200, JSON, &message("Buy now")), family, "m", 5_000);
        assert_eq!((other.grade, other.reason), (Grade::Degraded, "unexpected_content"));
        assert_eq!(other.checks, Checks { status: true, latency: Some(true), content: Some(false) });
    }

    #[test]
    fn what_is_no_answer_is_told_with_the_providers_own_words() {
        let family = Family::AnthropicMessages;
        for (status, body, reason, said) in [
            (401, r#"{"error":{"message":"Invalid Key"}}"#, "credential", Some("Invalid Key")),
            (429, r#"{"error":{"message":"Slow Down"}}"#, "rate_limit", Some("Slow Down")),
            (529, "", "overload", None),
            (404, r#"{"error":{"message":"model: m"}}"#, "model_missing", Some("model: m")),
            (502, "Bad Gateway", "server_error", Some("Bad Gateway")),
            (200, "<html>Log in</html>", "fake_success", Some("<html>Log in</html>")),
            (200, "", "fake_success", None),
            (200, r#"{"error":{"message":"No Quota"}}"#, "fake_success", Some("No Quota")),
        ] {
            let judged = judge(&answered(status, JSON, body), family, "m", 5_000);
            assert_eq!((judged.grade, judged.reason), (Grade::Failed, reason), "{body}");
            assert_eq!(judged.error.as_deref(), said, "{body}");
            assert!(!judged.checks.status);
        }
    }

    #[test]
    fn of_a_stream_that_is_real_one_can_have_enough() {
        let family = Family::AnthropicMessages;
        let start =
            "event: message_start\ndata: {\"type\":\"message_start\",\"message\":{\"model\":\"m\"}}\n\n";
        let block = "event: content_block_start\ndata: {\"type\":\"content_block_start\",\"index\":0,\"content_block\":{\"type\":\"text\",\"text\":\"\"}}\n\n";
        let error = "event: error\ndata: {\"type\":\"error\",\"error\":{\"type\":\"api_error\",\"message\":\"Gone\"}}\n\n";
        let mut real = Beginning::new(family, "text/event-stream").unwrap();
        assert!(!real.is_real(start.into()));
        assert!(real.is_real(block.into()));
        let answered = |body: &str| Answered {
            end: BodyEnd::Enough,
            ..answered(200, "text/event-stream; charset=utf-8", body)
        };
        for rest in ["", "event: content_block_delta\ndata: {\"type\":\"content_bl"] {
            assert!(judge(&answered(&format!("{start}{block}{rest}")), family, "m", 5_000).is_answer());
        }
        let mut fake = Beginning::new(family, "text/event-stream").unwrap();
        assert!(!fake.is_real(start.into()) && !fake.is_real(error.into()));
        assert!(!judge(&answered(&format!("{start}{error}")), family, "m", 5_000).is_answer());
        assert!(Beginning::new(family, JSON).is_none());
    }

    #[test]
    fn the_shortest_answers_are_answers() {
        let cut = r#"{"candidates":[{"finishReason":"MAX_TOKENS","index":0}],"usageMetadata":{"promptTokenCount":9,"totalTokenCount":9}}"#;
        let judged = |content_type: &str, body: &str| {
            judge(&answered(200, content_type, body), Family::GeminiStreamGenerate, "m", 5_000)
        };
        assert!(judged("text/event-stream", &format!("data: {cut}\n\n")).is_answer());
        assert!(judged(JSON, &format!("[{cut}]")).is_answer());
    }

    #[test]
    fn a_stream_must_end_and_must_not_fail() {
        let delta = "data: {\"choices\":[{\"index\":0,\"delta\":{\"content\":\"pong\"}}]}\n\n";
        let stop =
            "data: {\"choices\":[{\"index\":0,\"delta\":{},\"finish_reason\":\"stop\"}]}\n\ndata: [DONE]\n\n";
        let error = "data: {\"error\":{\"message\":\"Gone\"}}\n\n";
        let judged =
            |body: &str| judge(&answered(200, "text/event-stream", body), Family::OpenaiChat, "m", 5_000);
        assert_eq!(judged(&format!("{delta}{stop}")).grade, Grade::Ok);
        assert_eq!(judged(&format!("{delta}{stop}")).text, "pong");
        assert_eq!(judged(delta).label, "cut_mid_stream");
        let late = judged(&format!("{delta}{error}"));
        assert_eq!((late.grade, late.error.as_deref()), (Grade::Failed, Some("Gone")));
        assert_eq!(judged(error).error.as_deref(), Some("Gone"));
        assert_eq!(judged("").label, "fake_success_empty");
    }
}
