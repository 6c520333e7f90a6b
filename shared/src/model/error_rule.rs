//! A rule by which an upstream's error is the request's own fault: what it looks for, and what the seat reads instead.

use crate::protocol::Dialect;
use crate::protocol::error::{DialectError, ErrorKind, Retry};
use regex::{Regex, RegexBuilder};
use serde_json::{Map, Value};
use thiserror::Error;

/// How a rule's pattern is compared with an error. Case never matters.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ErrorMatch {
    /// It occurs somewhere.
    Contains,
    /// It is the whole message, or the whole body, but for blanks around it.
    Exact,
    /// The regular expression matches somewhere. `.` does not match a line's end.
    Regex,
}

impl ErrorMatch {
    /// All ways.
    pub const ALL: [Self; 3] = [Self::Contains, Self::Exact, Self::Regex];

    /// The name in SQL and JSON.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Contains => "contains",
            Self::Exact => "exact",
            Self::Regex => "regex",
        }
    }

    /// The way of this name.
    #[must_use]
    pub fn parse(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|way| way.as_str() == name)
    }
}

/// What kind of fault a rule is about, for people: all are judged alike.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ErrorCategory {
    /// The prompt is too long for the model.
    PromptLimit,
    /// The vendor's filter refuses the content.
    ContentFilter,
    /// A document has too many pages or bytes.
    PdfLimit,
    /// Thinking blocks are missing, changed or misplaced.
    ThinkingError,
    /// A parameter has a value that the model does not take.
    ParameterError,
    /// The request is malformed in another way.
    InvalidRequest,
    /// Too many or misplaced cache marks.
    CacheLimit,
}

impl ErrorCategory {
    /// All categories.
    pub const ALL: [Self; 7] = [
        Self::PromptLimit,
        Self::ContentFilter,
        Self::PdfLimit,
        Self::ThinkingError,
        Self::ParameterError,
        Self::InvalidRequest,
        Self::CacheLimit,
    ];

    /// The name in SQL and JSON.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::PromptLimit => "prompt_limit",
            Self::ContentFilter => "content_filter",
            Self::PdfLimit => "pdf_limit",
            Self::ThinkingError => "thinking_error",
            Self::ParameterError => "parameter_error",
            Self::InvalidRequest => "invalid_request",
            Self::CacheLimit => "cache_limit",
        }
    }

    /// The category of this name.
    #[must_use]
    pub fn parse(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|category| category.as_str() == name)
    }
}

/// A pattern that can be looked for.
#[derive(Clone, Debug)]
pub struct ErrorPattern {
    regex: Regex,
}

/// Why a pattern cannot be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum ErrorPatternError {
    /// It is empty, or nothing but blanks.
    #[error("must not be blank")]
    Blank,
    /// It is longer than [`MAX_PATTERN_BYTES`].
    #[error("must have at most {MAX_PATTERN_BYTES} bytes")]
    TooLong,
    /// It is no regular expression, or one that needs too much memory.
    #[error("is not a usable regular expression")]
    BadRegex,
    /// It matches the empty text, and with that every error there is.
    #[error("matches every error: it matches the empty text")]
    MatchesAll,
}

impl ErrorPattern {
    /// Checks and compiles a pattern. What it costs to look for is linear in the text, whatever the pattern.
    pub fn new(match_type: ErrorMatch, text: &str) -> Result<Self, ErrorPatternError> {
        if text.trim().is_empty() {
            return Err(ErrorPatternError::Blank);
        }
        if text.len() > MAX_PATTERN_BYTES {
            return Err(ErrorPatternError::TooLong);
        }
        let source = match match_type {
            ErrorMatch::Contains => regex::escape(text),
            ErrorMatch::Exact => format!(r"\A\s*{}\s*\z", regex::escape(text.trim())),
            ErrorMatch::Regex => text.to_owned(),
        };
        let regex = RegexBuilder::new(&source)
            .case_insensitive(true)
            .size_limit(MAX_COMPILED_BYTES)
            .build()
            .map_err(|_| ErrorPatternError::BadRegex)?;
        if regex.is_match("") {
            return Err(ErrorPatternError::MatchesAll);
        }
        Ok(Self { regex })
    }

    /// The regular expression it is compiled to, to be looked for without regard to case.
    #[must_use]
    pub fn source(&self) -> &str {
        self.regex.as_str()
    }
}

/// An error that a seat reads in the place of an upstream's: one that a client of some dialect can read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ErrorBody {
    document: Value,
    shape: Shape,
}

/// Whose error shape a document has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Shape {
    Anthropic,
    Openai,
    Gemini,
}

/// Why a document cannot stand in the place of an upstream's error.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum ErrorBodyError {
    /// It is longer than [`MAX_BODY_BYTES`].
    #[error("must have at most {MAX_BODY_BYTES} bytes as JSON")]
    TooLong,
    /// No client could read it as an error.
    #[error(
        "must be an error of Anthropic ({{\"type\":\"error\",\"error\":{{\"type\",\"message\"}}}}), OpenAI \
         ({{\"error\":{{\"message\",\"type\"}}}}) or Gemini ({{\"error\":{{\"code\",\"message\",\"status\"}}}}), \
         with a message that is not empty"
    )]
    NoError,
}

impl ErrorBody {
    /// Takes a document that is an error of one of the three vendors; further fields are kept.
    pub fn new(document: Value) -> Result<Self, ErrorBodyError> {
        let shape = shape(&document).ok_or(ErrorBodyError::NoError)?;
        if document.to_string().len() > MAX_BODY_BYTES {
            return Err(ErrorBodyError::TooLong);
        }
        Ok(Self { document, shape })
    }

    /// The document.
    #[must_use]
    pub fn document(&self) -> &Value {
        &self.document
    }

    /// True when a client of this dialect reads it as it stands.
    #[must_use]
    pub fn is_of(&self, dialect: Dialect) -> bool {
        match self.shape {
            Shape::Anthropic => dialect == Dialect::Anthropic,
            Shape::Openai => matches!(dialect, Dialect::OpenaiChat | Dialect::OpenaiResponses),
            Shape::Gemini => dialect == Dialect::Gemini,
        }
    }

    /// The bytes for a client of this dialect: the document itself, or the same words in the dialect's own shape.
    #[must_use]
    pub fn render(&self, dialect: Dialect, status: u16, request_id: &str) -> Vec<u8> {
        if self.is_of(dialect) {
            return self.document.to_string().into_bytes();
        }
        let error = self.error();
        let message = text(error, "message").unwrap_or_default();
        let code = text(error, "code");
        // Goes with `x-should-retry: false`.
        let retry = Retry { is_final: true, after_secs: None };
        let told =
            DialectError::new(status, message, request_id).with_kind(self.kind(status)).with_retry(retry);
        dialect.error_body(&match code {
            Some(code) => told.with_code(code),
            None => told,
        })
    }

    fn error(&self) -> Option<&Map<String, Value>> {
        self.document.get("error").and_then(Value::as_object)
    }

    /// What it says went wrong: by its words, else by the status.
    fn kind(&self, status: u16) -> ErrorKind {
        let word = match self.shape {
            Shape::Anthropic | Shape::Openai => text(self.error(), "type"),
            Shape::Gemini => text(self.error(), "status"),
        };
        match word.unwrap_or_default() {
            "invalid_request_error" | "INVALID_ARGUMENT" | "FAILED_PRECONDITION" | "OUT_OF_RANGE" => {
                // OpenAI says so of a missing model and of a body too large alike; the status is finer.
                Some(ErrorKind::of_status(status))
                    .filter(|_| status < 500)
                    .unwrap_or(ErrorKind::InvalidRequest)
            }
            "authentication_error" | "UNAUTHENTICATED" => ErrorKind::Authentication,
            "billing_error" | "insufficient_quota" => ErrorKind::Billing,
            "permission_error" | "PERMISSION_DENIED" => ErrorKind::Permission,
            "not_found_error" | "NOT_FOUND" => ErrorKind::NotFound,
            "request_too_large" => ErrorKind::TooLarge,
            "rate_limit_error" | "RESOURCE_EXHAUSTED" => ErrorKind::RateLimit,
            "overloaded_error" => ErrorKind::Overloaded,
            "timeout_error" | "DEADLINE_EXCEEDED" => ErrorKind::Timeout,
            "api_error" | "server_error" | "INTERNAL" => ErrorKind::Internal,
            "UNAVAILABLE" => ErrorKind::Unavailable,
            _ => ErrorKind::of_status(status),
        }
    }
}

fn shape(document: &Value) -> Option<Shape> {
    let error = document.get("error")?.as_object();
    text(error, "message").filter(|message| !message.trim().is_empty())?;
    let has_type = text(error, "type").is_some_and(|word| !word.is_empty());
    let is_gemini = error?.get("code").is_some_and(Value::is_u64) && text(error, "status").is_some();
    match document.get("type").and_then(Value::as_str) {
        Some("error") if has_type => Some(Shape::Anthropic),
        None if document.get("type").is_none() && has_type => Some(Shape::Openai),
        None if document.get("type").is_none() && is_gemini => Some(Shape::Gemini),
        Some(_) | None => None,
    }
}

fn text<'a>(error: Option<&'a Map<String, Value>>, field: &str) -> Option<&'a str> {
    error?.get(field)?.as_str()
}

/// The longest pattern, in bytes: it stands in a unique index, which has room for 2 700.
pub const MAX_PATTERN_BYTES: usize = 1_000;
/// The longest error that stands in for an upstream's, in bytes as JSON.
pub const MAX_BODY_BYTES: usize = 10 << 10;
/// A pattern comes from an admin, yet one of them must not be able to eat the process.
pub const MAX_COMPILED_BYTES: usize = 1 << 20;

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn finds(match_type: ErrorMatch, pattern: &str, text: &str) -> bool {
        ErrorPattern::new(match_type, pattern).unwrap().regex.is_match(text)
    }

    #[test]
    fn patterns_are_looked_for_without_case() {
        assert!(finds(ErrorMatch::Contains, "Prompt is (too) long", "the PROMPT IS (TOO) LONG: 9 > 8"));
        assert!(finds(ErrorMatch::Exact, " input is too long ", "Input is too long\n"));
        assert!(!finds(ErrorMatch::Exact, "input is too long", "Input is too long."));
        assert!(finds(ErrorMatch::Regex, r"too long: \d+ tokens", "Too long: 12 tokens"));
        assert!(finds(ErrorMatch::Contains, "非法请求", "错误：非法请求"));
    }

    #[test]
    fn a_pattern_that_cannot_be_meant_is_refused() {
        use ErrorPatternError::{BadRegex, Blank, MatchesAll, TooLong};
        for (match_type, pattern, error) in [
            (ErrorMatch::Contains, "", Blank),
            (ErrorMatch::Regex, " \t", Blank),
            (ErrorMatch::Contains, &"x".repeat(1_001), TooLong),
            (ErrorMatch::Regex, "(", BadRegex),
            // No look-around and no back references: what the engine cannot do in linear time it does not do.
            (ErrorMatch::Regex, r"(a)\1", BadRegex),
            (ErrorMatch::Regex, r"\w{900}{900}", BadRegex),
            (ErrorMatch::Regex, ".*", MatchesAll),
            (ErrorMatch::Regex, "too long|", MatchesAll),
        ] {
            assert_eq!(ErrorPattern::new(match_type, pattern).err(), Some(error), "{pattern}");
        }
        assert!(ErrorPattern::new(ErrorMatch::Contains, &"x".repeat(1_000)).is_ok());
    }

    fn anthropic() -> Value {
        json!({"type": "error", "error": {"type": "invalid_request_error", "message": "Start a new chat."}, "x": 1})
    }

    #[test]
    fn a_replacement_is_an_error_of_one_of_the_vendors() {
        let openai = json!({"error": {"message": "m", "type": "t", "param": null, "code": null}});
        let gemini = json!({"error": {"code": 400, "message": "m", "status": "INVALID_ARGUMENT"}});
        for (document, dialect) in
            [(anthropic(), Dialect::Anthropic), (openai, Dialect::OpenaiChat), (gemini, Dialect::Gemini)]
        {
            assert!(ErrorBody::new(document).unwrap().is_of(dialect));
        }
        for document in [
            json!(null),
            json!([]),
            json!({}),
            json!({"error": "text"}),
            json!({"error": {"message": "m"}}),
            json!({"error": {"message": "", "type": "t"}}),
            json!({"error": {"message": 7, "type": "t"}}),
            json!({"type": "error", "error": {"message": "m"}}),
            json!({"type": "message", "error": {"message": "m", "type": "t"}}),
            json!({"error": {"code": "400", "message": "m", "status": "X"}}),
            json!({"type": "error", "message": "m"}),
        ] {
            assert_eq!(ErrorBody::new(document.clone()), Err(ErrorBodyError::NoError), "{document}");
        }
        let long = json!({"error": {"message": "m".repeat(10_300), "type": "t"}});
        assert_eq!(ErrorBody::new(long), Err(ErrorBodyError::TooLong));
    }

    #[test]
    fn a_replacement_keeps_its_words_in_every_dialect() {
        let body = ErrorBody::new(anthropic()).unwrap();
        let render =
            |dialect| -> Value { serde_json::from_slice(&body.render(dialect, 422, "r-1")).unwrap() };
        assert_eq!(render(Dialect::Anthropic), anthropic());
        assert_eq!(
            render(Dialect::OpenaiResponses),
            json!({"error": {"message": "Start a new chat.", "type": "invalid_request_error", "param": null, "code": null}})
        );
        assert_eq!(
            render(Dialect::Gemini),
            json!({"error": {"code": 422, "message": "Start a new chat.", "status": "INVALID_ARGUMENT"}})
        );
        let body = json!({"error": {"message": "m", "type": "invalid_request_error", "code": "too_long"}});
        let body = ErrorBody::new(body).unwrap();
        let told: Value = serde_json::from_slice(&body.render(Dialect::Anthropic, 413, "r-1")).unwrap();
        assert_eq!(
            told,
            json!({"type": "error", "error": {"type": "request_too_large", "message": "m"}, "request_id": "r-1"})
        );
    }
}
