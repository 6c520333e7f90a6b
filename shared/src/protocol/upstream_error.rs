//! Reads the errors of providers, whichever vendor or relay wrote them and wherever they stand: an error
//! body, an error event, an error under a good status.
//!
//! Takes Anthropic's and OpenAI's `{"error":{type, code, message}}`, Google's `{"error":{code, status, message,
//! details}}` (also in an array), a bare string as `error`, and the fields at the top (`object: "error"`,
//! FastAPI's `detail`). Judges nothing: [`crate::rules::classify`] does.

use super::Dialect;
use super::error::DialectError;
use super::facts::ErrorFacts;
use super::lenient::{Fold, Many, Raw, Scalar, Text, lenient, parse};
use std::borrow::Cow;

/// What an error body says.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct UpstreamError<'a> {
    /// Type, code and text.
    pub facts: ErrorFacts<'a>,
    /// Google's `RetryInfo`: when to come back, in milliseconds, rounded up.
    pub retry_delay_ms: Option<u64>,
}

/// Reads an error body; everything is `None` when it is not JSON.
#[must_use]
pub fn read_error(body: &[u8]) -> UpstreamError<'_> {
    if body.trim_ascii_start().starts_with(b"[") {
        return parse::<Many<First<'_>>>(body)
            .and_then(|errors| errors.folded.0.0)
            .map(|first| read_error(first.get().as_bytes()))
            .unwrap_or_default();
    }
    parse::<Body<'_>>(body).map(Body::read).unwrap_or_default()
}

/// The data of an error event as the body of an HTTP error: as it came where a client of the dialect finds its `error` in it,
/// else the same words in the dialect's own shape.
#[must_use]
pub fn event_as_body<'a>(data: &'a [u8], dialect: Dialect, status: u16, request_id: &str) -> Cow<'a, [u8]> {
    if holds_error(data) {
        return Cow::Borrowed(data);
    }
    let told = read_error(data).facts;
    let message = told.message.as_deref().unwrap_or("The provider refused the request.");
    let error = DialectError::new(status, message, request_id);
    Cow::Owned(dialect.error_body(&match told.code.as_deref() {
        Some(code) => error.with_code(code),
        None => error,
    }))
}

/// True for a JSON object with something under `error`.
pub(crate) fn holds_error(body: &[u8]) -> bool {
    parse::<Nested<'_>>(body).is_some_and(|body| body.error.is_filled())
}

/// Reads what stands under `error` in an event: an object or a text.
fn read_error_value(json: &str) -> ErrorFacts<'_> {
    if json.starts_with('"') {
        let message = parse::<Text<'_>>(json.as_bytes()).unwrap_or_default();
        return ErrorFacts { message: message.filled(), ..ErrorFacts::default() };
    }
    parse::<Fields<'_>>(json.as_bytes()).map(|fields| fields.read().facts).unwrap_or_default()
}

lenient! {
    struct Body<'a> {
        error: Raw<'a> = "error",
        // The Responses API's failures stand under `response`.
        response: Nested<'a> = "response",
        detail: Raw<'a> = "detail",
        error_type: Text<'a> = "type",
        code: Scalar<'a> = "code",
        message: Text<'a> = "message",
        status: Text<'a> = "status",
        details: Many<RetryDelay> = "details",
    }
}

lenient! {
    /// An object that holds an error.
    struct Nested<'a> {
        error: Raw<'a> = "error",
    }
}

lenient! {
    struct Fields<'a> {
        error_type: Text<'a> = "type",
        code: Scalar<'a> = "code",
        message: Text<'a> = "message",
        status: Text<'a> = "status",
        details: Many<RetryDelay> = "details",
    }
}

lenient! {
    struct Detail<'a> {
        retry_delay: Text<'a> = "retryDelay",
    }
}

impl<'a> Body<'a> {
    fn read(self) -> UpstreamError<'a> {
        let nested = [self.error, self.response.error, self.detail].into_iter().find_map(Raw::filled);
        let top = Fields {
            error_type: self.error_type,
            code: self.code,
            message: self.message,
            status: self.status,
            details: self.details,
        };
        let Some(json) = nested else { return top.read() };
        let mut error = match parse::<Fields<'_>>(json.as_bytes()) {
            Some(fields) if json.starts_with('{') => fields.read(),
            _ => UpstreamError { facts: read_error_value(json), ..UpstreamError::default() },
        };
        // A bare text under `error` often has its code beside it.
        let beside = top.read().facts;
        error.facts.code = error.facts.code.or(beside.code);
        error.facts.message = error.facts.message.or(beside.message);
        error
    }
}

impl<'a> Fields<'a> {
    fn read(self) -> UpstreamError<'a> {
        // Events of the error kind say `"type":"error"`, which tells nothing.
        let error_type = self.error_type.filled().filter(|word| word != "error");
        UpstreamError {
            facts: ErrorFacts {
                error_type: error_type.or(self.status.filled()),
                code: self.code.0.filter(|code| !code.is_empty()),
                message: self.message.filled(),
            },
            retry_delay_ms: self.details.folded.0,
        }
    }
}

/// The first delay named in a list of details, in milliseconds.
#[derive(Clone, Copy, Debug, Default)]
struct RetryDelay(Option<u64>);

impl Fold for RetryDelay {
    fn fold(&mut self, next: Self) {
        self.0 = self.0.or(next.0);
    }
}

impl<'de> serde::Deserialize<'de> for RetryDelay {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let detail = Detail::deserialize(deserializer)?;
        Ok(Self(detail.retry_delay.0.as_deref().and_then(duration_ms)))
    }
}

/// The first element of an array.
#[derive(Clone, Copy, Debug, Default)]
struct First<'a>(Raw<'a>);

impl Fold for First<'_> {
    fn fold(&mut self, next: Self) {
        if self.0.0.is_none() {
            *self = next;
        }
    }
}

impl<'de: 'a, 'a> serde::Deserialize<'de> for First<'a> {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Raw::deserialize(deserializer).map(First)
    }
}

/// Milliseconds of a protobuf duration such as `"51820.638305887s"`, rounded up.
fn duration_ms(text: &str) -> Option<u64> {
    let number = text.trim().strip_suffix('s')?;
    let (secs, fraction) = number.split_once('.').unwrap_or((number, ""));
    if !fraction.bytes().all(|b| b.is_ascii_digit()) {
        return None;
    }
    let secs: u64 = secs.parse().ok()?;
    let (ms, finer) = fraction.split_at(fraction.len().min(3));
    let ms = format!("{ms:0<3}").parse::<u64>().ok()?;
    let rest = u64::from(finer.bytes().any(|b| b != b'0'));
    secs.checked_mul(1_000)?.checked_add(ms + rest)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(body: &str) -> (String, String, String) {
        let facts = read_error(body.as_bytes()).facts;
        let text = |word: Option<std::borrow::Cow<'_, str>>| word.unwrap_or_default().into_owned();
        (text(facts.error_type), text(facts.code), text(facts.message))
    }

    fn three(a: &str, b: &str, c: &str) -> (String, String, String) {
        (a.to_owned(), b.to_owned(), c.to_owned())
    }

    #[test]
    fn the_errors_of_all_vendors_are_read() {
        assert_eq!(
            words(
                r#"{"type":"error","error":{"type":"overloaded_error","message":"Overloaded"},"request_id":"r"}"#
            ),
            three("overloaded_error", "", "Overloaded")
        );
        assert_eq!(
            words(
                r#"{"error":{"message":"No \"m\"","type":"invalid_request_error","param":null,"code":"model_not_found"}}"#
            ),
            three("invalid_request_error", "model_not_found", "No \"m\"")
        );
        assert_eq!(
            words(r#"{"error":{"code":429,"message":"Quota","status":"RESOURCE_EXHAUSTED"}}"#),
            three("RESOURCE_EXHAUSTED", "429", "Quota")
        );
        assert_eq!(
            words(r#"[{"error":{"code":400,"message":"Bad","status":"INVALID_ARGUMENT"}}]"#),
            three("INVALID_ARGUMENT", "400", "Bad")
        );
        assert_eq!(
            words(
                r#"{"type":"response.failed","response":{"error":{"code":"server_is_overloaded","message":"x"}}}"#
            ),
            three("", "server_is_overloaded", "x")
        );
    }

    #[test]
    fn the_shapes_of_relays_are_read() {
        assert_eq!(words(r#"{"error":"no balance","code":402}"#), three("", "402", "no balance"));
        assert_eq!(words(r#"{"detail":"Not Found"}"#), three("", "", "Not Found"));
        assert_eq!(words(r#"{"object":"error","message":"m","type":"t","code":1}"#), three("t", "1", "m"));
        assert_eq!(words(r#"{"type":"error","code":"c","message":"m"}"#), three("", "c", "m"));
        assert_eq!(words(r#"{"error":true,"message":"m"}"#), three("", "", "m"));
        assert_eq!(words("<html>"), three("", "", ""));
        assert_eq!(words("[]"), three("", "", ""));
    }

    #[test]
    fn an_error_event_is_a_body_that_clients_of_its_dialect_can_read() {
        let anthropic = br#"{"type":"error", "error":{"type":"invalid_request_error","message":"m"}}"#;
        assert_eq!(event_as_body(anthropic, Dialect::Anthropic, 400, "r"), &anthropic[..]);
        let failed =
            br#"{"type":"response.failed","response":{"error":{"code":"invalid_prompt","message":"m"}}}"#;
        let body = event_as_body(failed, Dialect::OpenaiResponses, 400, "r");
        let body: serde_json::Value = serde_json::from_slice(&body).unwrap();
        assert_eq!(body["error"]["code"], "invalid_prompt");
        assert_eq!(body["error"]["message"], "m");
        let body = event_as_body(b"boom", Dialect::Gemini, 400, "r");
        assert!(String::from_utf8_lossy(&body).contains("refused the request"));
    }

    #[test]
    fn googles_retry_delay_is_read_in_milliseconds_rounded_up() {
        let body = |delay: &str| {
            format!(
                r#"{{"error":{{"code":429,"details":[{{"@type":"type.googleapis.com/google.rpc.QuotaFailure"}},
                {{"@type":"type.googleapis.com/google.rpc.RetryInfo","retryDelay":"{delay}"}}]}}}}"#
            )
        };
        let read = |delay: &str| read_error(body(delay).as_bytes()).retry_delay_ms;
        assert_eq!(read("51820.638305887s"), Some(51_820_639));
        assert_eq!(read("34s"), Some(34_000));
        assert_eq!(read("0.5s"), Some(500));
        assert_eq!(read("0.500000000s"), Some(500));
        for odd in ["", "s", "-3s", "1e3s", "3", ".5s", "1.xs", "99999999999999999999s"] {
            assert_eq!(read(odd), None, "{odd}");
        }
    }
}
