//! What an upstream's error document says, read out of any dialect's shape and of the shapes relays make up.

use crate::ids::ErrorRuleId;
use crate::rules::error_rules::ErrorRules;
use serde_json::Value;
use std::fmt;

/// The telling parts of an error document, in lower case. Its message may quote a prompt: never log it.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct ErrorFacts {
    /// `error.type`, Gemini's `error.status`.
    kind: String,
    /// `error.code`, Gemini's `details[].reason` when there is one.
    code: String,
    /// The text for people, at most [`MESSAGE_LIMIT`] bytes of it.
    message: String,
    /// How long to wait, in whole seconds, rounded up: Google's `RetryInfo.retryDelay`, Codex' `resets_in_seconds`,
    /// Cloudflare's `retry_after`; where none of them is, the message's own words.
    retry_after_secs: Option<u64>,
    /// The first of the admins' rules that matches it.
    rule: Option<ErrorRuleId>,
}

impl ErrorFacts {
    /// Reads an error body or the data of an error event. Whatever the bytes are, something comes out: text
    /// that is no JSON becomes the message.
    #[must_use]
    pub fn read(body: &[u8]) -> Self {
        let body = event_data(body);
        match serde_json::from_slice::<Value>(body) {
            Ok(Value::Array(items)) => items.first().map(Self::of_document).unwrap_or_default(),
            Ok(document) => Self::of_document(&document),
            Err(_) => {
                let text = body.get(..MESSAGE_LIMIT).unwrap_or(body);
                Self { message: String::from_utf8_lossy(text).to_lowercase(), ..Self::default() }
            }
        }
    }

    /// Reads an error and asks the admins' rules about it.
    #[must_use]
    pub fn read_under(body: &[u8], rules: &ErrorRules) -> Self {
        let facts = Self::read(body);
        let rule = rules.find(&facts.message, body).map(|rule| rule.id);
        Self { rule, ..facts }
    }

    /// What it says to people, in lower case. It may quote a prompt: never log it.
    #[must_use]
    pub fn message(&self) -> &str {
        &self.message
    }

    /// The first of the admins' rules that matches it. Whether it decides is for [`super::classify`] to say.
    #[must_use]
    pub fn rule(&self) -> Option<ErrorRuleId> {
        self.rule
    }

    /// How long the body itself asks to wait, in seconds.
    #[must_use]
    pub fn retry_after_secs(&self) -> Option<u64> {
        self.retry_after_secs
    }

    fn of_document(document: &Value) -> Self {
        let nested = document.get("error").or_else(|| document.pointer("/response/error"));
        let error = nested.filter(|e| !e.is_null()).unwrap_or(document);
        // A relay that keeps what its own upstream said (ding113/claude-code-hub#518).
        let error = error.pointer("/upstream_error/error").filter(|e| e.is_object()).unwrap_or(error);
        let details = error.get("details").and_then(Value::as_array).map_or(&[][..], Vec::as_slice);
        let reason = details.iter().find_map(|d| text(d.get("reason")));
        let delay = details.iter().find_map(|d| d.get("retryDelay")?.as_str()?.strip_suffix('s'));
        let told = [error.get("resets_in_seconds"), document.get("retry_after")];
        let told = told.into_iter().find_map(|value| text(value).as_deref().and_then(retry_after_secs));
        let message =
            error.as_str().map(str::to_owned).or_else(|| text(error.get("message"))).or_else(|| {
                ["message", "detail", "error_description"].iter().find_map(|f| text(document.get(f)))
            });
        let message = message.map(|m| cut(&m).to_lowercase()).unwrap_or_default();
        let worded = worded_wait_secs(&message);
        Self {
            kind: text(error.get("type")).or_else(|| text(error.get("status"))).unwrap_or_default(),
            code: reason.or_else(|| text(error.get("code"))).unwrap_or_default(),
            message,
            retry_after_secs: delay.and_then(retry_after_secs).or(told).or(worded),
            rule: None,
        }
        .in_lower_case()
    }

    fn in_lower_case(mut self) -> Self {
        self.kind.make_ascii_lowercase();
        self.code.make_ascii_lowercase();
        self
    }

    /// True when the type or the code is one of these.
    pub(super) fn is_named(&self, names: &[&str]) -> bool {
        names.iter().any(|name| self.kind == *name || self.code == *name)
    }

    /// True when the type or the code begins so.
    pub(super) fn has_code_prefix(&self, prefix: &str) -> bool {
        self.kind.starts_with(prefix) || self.code.starts_with(prefix)
    }

    /// True when the message holds one of these phrases.
    pub(super) fn says(&self, phrases: &[&str]) -> bool {
        phrases.iter().any(|phrase| self.message.contains(phrase))
    }

    /// True when the message holds this name as a whole word.
    pub(super) fn mentions(&self, name: &str) -> bool {
        let name = name.to_lowercase();
        let is_inner = |c: char| c.is_alphanumeric();
        !name.is_empty()
            && self.message.match_indices(&name).any(|(at, found)| {
                let before = self.message.get(..at).and_then(|s| s.chars().next_back());
                let after = self.message.get(at + found.len()..).and_then(|s| s.chars().next());
                !before.is_some_and(is_inner) && !after.is_some_and(is_inner)
            })
    }

    /// The code, where it is an HTTP status of a failure (Gemini, and relays).
    #[must_use]
    pub fn status_like_code(&self) -> Option<u16> {
        self.code.parse().ok().filter(|code| (400..600).contains(code))
    }
}

impl fmt::Debug for ErrorFacts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ErrorFacts({:?}, {:?}, message of {} bytes)", self.kind, self.code, self.message.len())
    }
}

/// Reads a `retry-after` header in seconds (`30`, `0.5`), rounded up. A date gives `None`: it needs a clock.
#[must_use]
pub fn retry_after_secs(text: &str) -> Option<u64> {
    let text = text.trim();
    let (whole, fraction) = text.split_once('.').unwrap_or((text, ""));
    let is_number = |part: &str| part.bytes().all(|b| b.is_ascii_digit());
    if whole.is_empty() || !is_number(whole) || !is_number(fraction) {
        return None;
    }
    let has_rest = fraction.bytes().any(|b| b != b'0');
    whole.parse::<u64>().ok()?.checked_add(u64::from(has_rest))
}

/// Reads "try again in 9.816s", "1m12s", "174ms" or "retry in 53.01s" out of a message (OpenAI, Codex, Gemini), in seconds,
/// rounded up.
fn worded_wait_secs(message: &str) -> Option<u64> {
    let after = ["try again in ", "retry in "].iter().find_map(|words| Some(message.split_once(words)?.1))?;
    let mut rest = after;
    let mut wait_ms = 0.0_f64;
    let mut is_told = false;
    loop {
        let digits = rest.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(rest.len());
        let (number, tail) = rest.split_at(digits);
        let Ok(number) = number.parse::<f64>() else { break };
        let tail = tail.trim_start();
        let length = tail.find(|c: char| !c.is_ascii_alphabetic()).unwrap_or(tail.len());
        let (unit, tail) = tail.split_at(length);
        wait_ms += number
            * match unit {
                "ms" => 1.0,
                "s" | "second" | "seconds" => 1_000.0,
                "m" | "minute" | "minutes" => 60_000.0,
                "h" | "hour" | "hours" => 3_600_000.0,
                _ => return None,
            };
        is_told = true;
        rest = tail;
    }
    let is_sane = is_told && (0.0..=MAX_WORDED_WAIT_MS).contains(&wait_ms);
    // Whole and in range by then.
    is_sane.then(|| std::time::Duration::from_secs_f64((wait_ms / 1_000.0).ceil()).as_secs())
}

/// Some relays send the error of a refused stream as one event: its `data` is the document.
fn event_data(body: &[u8]) -> &[u8] {
    let body = body.trim_ascii();
    if !body.starts_with(b"event:") && !body.starts_with(b"data:") {
        return body;
    }
    let data = body.split(|b| *b == b'\n').find_map(|line| line.strip_prefix(b"data:"));
    data.map_or(body, <[u8]>::trim_ascii)
}

/// A text, or a number as text; nothing else.
fn text(value: Option<&Value>) -> Option<String> {
    match value? {
        Value::String(text) => Some(text.clone()),
        Value::Number(number) => Some(number.to_string()),
        Value::Null | Value::Bool(_) | Value::Array(_) | Value::Object(_) => None,
    }
}

fn cut(text: &str) -> &str {
    text.get(..text.floor_char_boundary(MESSAGE_LIMIT)).unwrap_or(text)
}

const MESSAGE_LIMIT: usize = 4_096;
/// A month: what is longer is a number that means something else.
const MAX_WORDED_WAIT_MS: f64 = 31.0 * 86_400_000.0;

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn read(body: &str) -> (String, String, String) {
        let facts = ErrorFacts::read(body.as_bytes());
        (facts.kind, facts.code, facts.message)
    }

    #[test]
    fn every_shape_gives_its_type_code_and_message() {
        let own = |a: &str, b: &str, c: &str| (a.to_owned(), b.to_owned(), c.to_owned());
        for (body, facts) in [
            (
                r#"{"type":"error","error":{"type":"overloaded_error","message":"Overloaded"}}"#,
                own("overloaded_error", "", "overloaded"),
            ),
            (
                r#"{"error":{"message":"No","type":"invalid_request_error","param":null,"code":"model_not_found"}}"#,
                own("invalid_request_error", "model_not_found", "no"),
            ),
            (
                r#"[{"error":{"code":503,"message":"Down","status":"UNAVAILABLE"}}]"#,
                own("unavailable", "503", "down"),
            ),
            (
                r#"{"error":{"code":400,"status":"INVALID_ARGUMENT","details":[{"reason":"API_KEY_INVALID"}]}}"#,
                own("invalid_argument", "api_key_invalid", ""),
            ),
            (
                r#"{"type":"response.failed","response":{"error":{"code":"server_is_overloaded","message":"x"}}}"#,
                own("", "server_is_overloaded", "x"),
            ),
            (
                r#"{"type":"error","code":"rate_limit_exceeded","message":"m"}"#,
                own("error", "rate_limit_exceeded", "m"),
            ),
            (r#"{"error":"Some Text"}"#, own("", "", "some text")),
            (r#"{"error":null,"detail":"Not Found"}"#, own("", "", "not found")),
            ("event: error\ndata: {\"error\":{\"type\":\"api_error\"}}\n\n", own("api_error", "", "")),
            ("<html>Bad Gateway", own("", "", "<html>bad gateway")),
            ("[]", own("", "", "")),
            ("", own("", "", "")),
        ] {
            assert_eq!(read(body), facts, "{body}");
        }
    }

    #[test]
    fn waits_are_read_in_whole_seconds_rounded_up() {
        assert_eq!(retry_after_secs(" 30 "), Some(30));
        assert_eq!(retry_after_secs("0.25"), Some(1));
        assert_eq!(retry_after_secs("7.000"), Some(7));
        for bad in ["", "-1", "1e3", ".5", "Fri, 31 Dec 1999 23:59:59 GMT", "99999999999999999999"] {
            assert_eq!(retry_after_secs(bad), None, "{bad:?}");
        }
        let body = br#"{"error":{"details":[{"@type":"x"},{"retryDelay":"51820.638305887s"}]}}"#;
        assert_eq!(ErrorFacts::read(body).retry_after_secs(), Some(51_821));
    }

    #[test]
    fn waits_that_are_told_in_words_or_fields_are_read() {
        let secs = |body: &str| ErrorFacts::read(body.as_bytes()).retry_after_secs();
        let says = |words: &str| secs(&format!(r#"{{"error":{{"message":"{words}"}}}}"#));
        assert_eq!(says("Limit 30000. Please try again in 18.642s. Visit"), Some(19));
        assert_eq!(says("Please try again in 174ms. Visit"), Some(1));
        assert_eq!(says("Please try again in 1m12s."), Some(72));
        assert_eq!(says("please retry in 53.016342224s."), Some(54));
        assert_eq!(says("Try again in 2 hours"), Some(7_200));
        for odd in
            ["try again in a while", "try again in 5 parsecs", "try again in 9999999999h", "try again in ..s"]
        {
            assert_eq!(says(odd), None, "{odd}");
        }
        assert_eq!(
            secs(r#"{"error":{"type":"usage_limit_reached","resets_in_seconds":13872}}"#),
            Some(13_872)
        );
        assert_eq!(secs(r#"{"error_code":502,"retry_after":60}"#), Some(60));
    }

    #[test]
    fn a_name_is_mentioned_only_as_a_whole() {
        let facts = ErrorFacts::read(b"the model `O3` is not here");
        assert!(facts.mentions("o3"));
        assert!(!facts.mentions("od"));
        assert!(!facts.mentions(""));
        assert!(!ErrorFacts::read(b"foo3").mentions("o3"));
    }

    #[test]
    fn what_an_upstream_said_is_not_printed() {
        let facts = ErrorFacts::read(br#"{"error":{"type":"t","message":"the seat's prompt"}}"#);
        assert!(!format!("{facts:?}").contains("prompt"));
    }

    proptest! {
        #[test]
        fn no_body_makes_the_reader_panic(body in proptest::collection::vec(any::<u8>(), 0..200)) {
            let _ = ErrorFacts::read(&body);
        }
    }
}
