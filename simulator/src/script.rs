//! What an upstream is told to do: the words of the scripts.
//!
//! A [`Script`] is plain data, written by tests and by people. It names an answer (the ordinary one, unless
//! `status`, `fake_success`, `echo` or `bytes` asks for another) and what befalls it on its way (delays, cuts,
//! hangs, errors). It knows nothing of sockets or dialects. Every field is optional; an unknown one is refused.

use crate::usage::Usage;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::num::NonZeroUsize;
use std::str::FromStr;

/// One answer and its faults. The default is a short, complete, prompt answer.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Script {
    /// Milliseconds between the received request and the head of the answer.
    pub first_byte_delay_ms: u64,
    /// Milliseconds between the head and the first byte of the body.
    pub first_event_delay_ms: u64,
    /// Milliseconds between two events of a stream. 0: everything leaves in one write.
    pub spacing_ms: u64,
    /// Writes the body in pieces of so many bytes, each its own write.
    pub drip: Option<NonZeroUsize>,
    /// Milliseconds between two pieces of a drip.
    pub drip_every_ms: u64,

    /// Number of text deltas of a stream; 8 when absent.
    pub events: Option<u32>,
    /// The text of the answer, instead of the stock sentence.
    pub text: Option<String>,
    /// The text is a filler of exactly so many ASCII bytes.
    pub text_bytes: Option<usize>,
    /// Thinks (reasons) before it speaks, also when the request does not ask for it.
    pub thinking: bool,
    /// What it thinks, instead of the stock thought, in as many deltas as the text; it thinks when this is given.
    pub thought: Option<String>,
    /// Calls a tool that the request declares, unless the request brings a tool's result.
    pub tool_call: Option<ToolCall>,
    /// Why the model stopped, in the dialect's own word.
    pub stop_reason: Option<String>,
    /// The model the answer names, instead of the one asked for.
    pub model: Option<String>,
    /// The service tier the answer names.
    pub service_tier: Option<String>,

    /// The tokens of the answer; classes that are not named are 0. 25 in and 12 out when absent.
    pub usage: Option<Usage>,
    /// Anthropic and Gemini streams keep silent about usage until the last event that can carry it.
    pub usage_only_in_last_event: bool,
    /// Says nothing about usage.
    pub no_usage: bool,

    /// More headers for the answer; they replace those of the same name.
    pub headers: BTreeMap<String, String>,
    /// `content-encoding: gzip`, whatever the request accepts.
    pub gzip: bool,
    /// A whole answer leaves with `transfer-encoding: chunked` instead of a `content-length`.
    pub chunked: bool,

    /// Answers with this status and the vendor's own error body and headers.
    pub status: Option<u16>,
    /// What the error of `status` or `error_event` says, where the vendor's usual words will not do.
    pub error: Option<ErrorWords>,
    /// Seconds in `retry-after` (Google: `RetryInfo`) of a 429, 503 or 529.
    pub retry_after_secs: Option<u32>,
    /// How a refusal says when to come back, where the vendor's usual way will not do.
    pub retry_hint: Option<RetryHint>,
    /// Answers 200 with something that is no success.
    pub fake_success: Option<FakeSuccess>,
    /// Answers with what was received: digest, length, headers.
    pub echo: bool,
    /// Answers with a body of exactly so many bytes, the same for every request.
    pub bytes: Option<usize>,

    /// Sends nothing but pings for a while, or for ever.
    pub ping_only: Option<PingOnly>,
    /// An error inside a stream whose head said 200.
    pub error_event: Option<ErrorEvent>,
    /// Closes the connection early.
    pub cut: Option<Cut>,
    /// Falls silent with the connection open.
    pub hang: Option<Hang>,
    /// Answers before the request's body is read, then closes.
    pub early_reply: bool,
}

/// Which tool is called and with what.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct ToolCall {
    /// The tool's name; the first declared one when absent.
    pub name: Option<String>,
    /// The arguments, an object; made up from the tool's schema when absent.
    pub arguments: Option<serde_json::Value>,
}

/// The words of an error.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct ErrorWords {
    /// Anthropic and OpenAI `type`, Google `status`.
    #[serde(rename = "type")]
    pub kind: Option<String>,
    /// The message.
    pub message: Option<String>,
    /// OpenAI's `code`.
    pub code: Option<String>,
}

/// A success that is none.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FakeSuccess {
    /// The vendor's error body, under status 200.
    ErrorJson,
    /// A page for people.
    Html,
    /// No byte.
    Empty,
    /// The right answer, cut in half, properly framed.
    TruncatedJson,
    /// A stream of one event, the vendor's error, whatever was asked for.
    ErrorStream,
    /// The opening events of a stream, and a proper end.
    EmptyStream,
}

/// Where a refusal says when to come back.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RetryHint {
    /// Nowhere.
    Silent,
    /// `retry-after` in seconds, alone.
    Seconds,
    /// `retry-after` as an HTTP date, alone.
    Date,
    /// `anthropic-ratelimit-unified-reset` in epoch seconds, alone.
    UnifiedReset,
    /// Google's `RetryInfo` in the body, alone; nowhere in the other dialects.
    RetryInfo,
}

/// Pings and nothing else, before the first event or between two.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct PingOnly {
    /// Milliseconds between two pings.
    pub every_ms: u64,
    /// After so many milliseconds the answer goes on as usual; absent: never.
    pub for_ms: Option<u64>,
    /// The opening event (`message_start`, `response.created`, role chunk) comes before the pings.
    pub after_opening: bool,
    /// So many events come before the pings, if that is more.
    pub after_events: u32,
}

impl Default for PingOnly {
    fn default() -> Self {
        Self { every_ms: 50, for_ms: None, after_opening: false, after_events: 0 }
    }
}

/// An error in the middle of a stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ErrorEvent {
    /// Before anything a user would see; the opening events have been sent.
    BeforeContent,
    /// After so many content deltas.
    AfterContent(u32),
}

/// Where the connection is closed. On HTTP/2 the stream is reset, but `MidChunk` closes the connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Cut {
    /// Before the first byte of the answer.
    BeforeHead,
    /// After the head.
    AfterHead,
    /// After so many events (at most all but the last); half-way through a whole answer.
    MidStream(u32),
    /// After so many events and half of the next, inside its chunk.
    MidChunk(u32),
    /// After so many bytes of the body (at most all but the last).
    AfterBytes(u32),
}

/// Where the answer falls silent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Hang {
    /// Before the first byte of the answer.
    BeforeHead,
    /// After the head.
    AfterHead,
    /// After so many events (at most all but the last); half-way through a whole answer.
    MidStream(u32),
}

impl Script {
    /// An answer with this status and the vendor's own words.
    #[must_use]
    pub fn failing(status: u16) -> Self {
        Self { status: Some(status), ..Self::default() }
    }

    /// An answer whose connection is closed early.
    #[must_use]
    pub fn cutting(cut: Cut) -> Self {
        Self { cut: Some(cut), ..Self::default() }
    }

    /// An answer that falls silent.
    #[must_use]
    pub fn hanging(hang: Hang) -> Self {
        Self { hang: Some(hang), ..Self::default() }
    }

    /// The tokens of the answer.
    #[must_use]
    pub fn tokens(&self) -> Usage {
        self.usage.unwrap_or(Usage { input: 25, output: 12, ..Usage::default() })
    }

    /// As it goes into an `x-sim-script` header: one line of ASCII.
    #[must_use]
    pub fn to_header(&self) -> String {
        let json = serde_json::to_string(self).unwrap_or_default();
        let mut header = String::with_capacity(json.len());
        for c in json.chars() {
            if c.is_ascii() {
                header.push(c);
            } else {
                // A header value is ASCII; JSON can say the rest in UTF-16 escapes.
                for unit in c.encode_utf16(&mut [0; 2]) {
                    header.push_str(&format!("\\u{unit:04x}"));
                }
            }
        }
        header
    }

    fn check(&self) -> Result<(), ScriptError> {
        let answers = [self.status.is_some(), self.fake_success.is_some(), self.echo, self.bytes.is_some()];
        if answers.iter().filter(|asked| **asked).count() > 1 {
            return Err(ScriptError::SeveralAnswers);
        }
        if self.text.is_some() && self.text_bytes.is_some() {
            return Err(ScriptError::SeveralTexts);
        }
        if self.drip_every_ms > 0 && self.drip.is_none() {
            return Err(ScriptError::NoDrip);
        }
        if self.gzip && self.ping_only.is_some() {
            return Err(ScriptError::CompressedPings);
        }
        match self.status {
            Some(status) if !(200..=599).contains(&status) => Err(ScriptError::NoSuchStatus { status }),
            _ => Ok(()),
        }
    }
}

impl FromStr for Script {
    type Err = ScriptError;

    /// Reads a script written as JSON.
    fn from_str(json: &str) -> Result<Self, ScriptError> {
        let script: Self = serde_json::from_str(json)?;
        script.check()?;
        Ok(script)
    }
}

/// What is wrong with a script.
#[derive(Debug, thiserror::Error)]
pub enum ScriptError {
    /// Not JSON, an unknown field, a wrong type.
    #[error("not a script: {0}")]
    Json(#[from] serde_json::Error),
    /// Only one of them can be the answer.
    #[error("status, fake_success, echo and bytes exclude each other")]
    SeveralAnswers,
    /// Only one of them can be the text.
    #[error("text and text_bytes exclude each other")]
    SeveralTexts,
    /// How many pings there will be is not known when the answer is compressed.
    #[error("gzip and ping_only exclude each other")]
    CompressedPings,
    /// Pauses between pieces of what is not cut into pieces.
    #[error("drip_every_ms needs a drip")]
    NoDrip,
    /// An answer has a final status.
    #[error("status {status} is not between 200 and 599")]
    NoSuchStatus {
        /// What was asked for.
        status: u16,
    },
}

/// The scripts of a listener: the first request gets the first, and the last one stays. Requests with their own
/// script do not count. In JSON an array, or a single object.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Scripts(pub(crate) Vec<Script>);

impl FromStr for Scripts {
    type Err = ScriptError;

    fn from_str(json: &str) -> Result<Self, ScriptError> {
        if !json.trim_start().starts_with('[') {
            return json.parse().map(|script| Self(vec![script]));
        }
        let scripts: Vec<Script> = serde_json::from_str(json)?;
        scripts.iter().try_for_each(Script::check)?;
        Ok(Self(scripts))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_script_reads_as_it_is_documented() {
        let script: Script = r#"{"cut":{"mid_stream":3},"error_event":"before_content","hang":"after_head",
            "usage":{"input":7},"ping_only":{},"drip":2,"fake_success":"html"}"#
            .parse()
            .unwrap();
        assert_eq!(script.cut, Some(Cut::MidStream(3)));
        assert_eq!(script.error_event, Some(ErrorEvent::BeforeContent));
        assert_eq!(script.hang, Some(Hang::AfterHead));
        assert_eq!(script.tokens(), Usage { input: 7, ..Usage::default() });
        assert_eq!(script.ping_only, Some(PingOnly::default()));
        assert_eq!(script.fake_success, Some(FakeSuccess::Html));
    }

    #[test]
    fn an_unknown_field_or_two_answers_at_once_are_refused() {
        assert!(matches!("{\"statsu\":500}".parse::<Script>(), Err(ScriptError::Json(_))));
        assert!(matches!("{\"usage\":{\"in\":1}}".parse::<Script>(), Err(ScriptError::Json(_))));
        let both = "{\"status\":500,\"echo\":true}";
        assert!(matches!(both.parse::<Script>(), Err(ScriptError::SeveralAnswers)));
        assert!(matches!(format!("[{both}]").parse::<Scripts>(), Err(ScriptError::SeveralAnswers)));
        let texts = "{\"text\":\"a\",\"text_bytes\":2}";
        assert!(matches!(texts.parse::<Script>(), Err(ScriptError::SeveralTexts)));
        let status = "{\"status\":100}";
        assert!(matches!(status.parse::<Script>(), Err(ScriptError::NoSuchStatus { status: 100 })));
    }

    #[test]
    fn a_header_carries_any_script_in_ascii() {
        let script = Script { text: Some("héllo 🦀".into()), ..Script::failing(529) };
        let header = script.to_header();
        assert!(header.is_ascii());
        assert_eq!(header.parse::<Script>().unwrap(), script);
    }
}
