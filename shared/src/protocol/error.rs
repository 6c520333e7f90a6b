//! Our own errors before they take a dialect's shape: status, kind, code, text.
//!
//! The rooms' `error.rs` write them. Public text is the caller's; nothing is looked up here.

use super::upstream_error::holds_error;
use serde::Serialize;
use std::borrow::Cow;

/// An error of ours, for the caller.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DialectError<'a> {
    /// HTTP status it is (or, in a stream, would have been) sent with.
    pub status: u16,
    /// What went wrong, which each dialect has its own name for.
    pub kind: ErrorKind,
    /// A finer, stable word (`previous_response_not_found`), where the dialect has a place for one.
    pub code: Option<&'a str>,
    /// The public text.
    pub message: &'a str,
    /// Our request id, where the dialect has a place for one.
    pub request_id: &'a str,
    /// Whether and when another try is worth it, where the dialect has a place for that: Google's. The others' SDKs go by
    /// the headers alone.
    pub retry: Retry,
}

/// Whether the same request is worth another try, as an error's body says it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Retry {
    /// It is not, by itself: somebody has to do something about it, or come back another time.
    pub is_final: bool,
    /// Seconds until it may be served, where they are known.
    pub after_secs: Option<u64>,
}

impl<'a> DialectError<'a> {
    /// An error whose kind follows from its status.
    #[must_use]
    pub fn new(status: u16, message: &'a str, request_id: &'a str) -> Self {
        Self {
            status,
            kind: ErrorKind::of_status(status),
            code: None,
            message,
            request_id,
            retry: Retry::default(),
        }
    }

    /// The same error of another kind.
    #[must_use]
    pub fn with_kind(self, kind: ErrorKind) -> Self {
        Self { kind, ..self }
    }

    /// The same error with a code.
    #[must_use]
    pub fn with_code(self, code: &'a str) -> Self {
        Self { code: Some(code), ..self }
    }

    /// The same error that says whether another try is worth it.
    #[must_use]
    pub fn with_retry(self, retry: Retry) -> Self {
        Self { retry, ..self }
    }
}

/// What went wrong, in no dialect's words.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ErrorKind {
    /// The request cannot be served as it is.
    InvalidRequest,
    /// No or wrong credential.
    Authentication,
    /// A budget is used up: not worth a retry before its window ends.
    Billing,
    /// The caller may not do this.
    Permission,
    /// No such path, model or object.
    NotFound,
    /// Something else is in the way.
    Conflict,
    /// The body is too large.
    TooLarge,
    /// Too many requests or sessions: worth a retry later.
    RateLimit,
    /// Our fault.
    Internal,
    /// Nobody can serve right now.
    Unavailable,
    /// It took too long.
    Timeout,
    /// The provider is overloaded.
    Overloaded,
}

impl ErrorKind {
    /// All kinds.
    pub const ALL: [Self; 12] = [
        Self::InvalidRequest,
        Self::Authentication,
        Self::Billing,
        Self::Permission,
        Self::NotFound,
        Self::Conflict,
        Self::TooLarge,
        Self::RateLimit,
        Self::Internal,
        Self::Unavailable,
        Self::Timeout,
        Self::Overloaded,
    ];

    /// The kind that a status stands for.
    #[must_use]
    pub fn of_status(status: u16) -> Self {
        match status {
            401 => Self::Authentication,
            402 => Self::Billing,
            403 => Self::Permission,
            404 => Self::NotFound,
            409 => Self::Conflict,
            413 => Self::TooLarge,
            429 => Self::RateLimit,
            502 | 503 => Self::Unavailable,
            408 | 504 | 524 => Self::Timeout,
            529 => Self::Overloaded,
            500.. => Self::Internal,
            _ => Self::InvalidRequest,
        }
    }
}

/// An error that has to go into a stream whose head was sent already.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StreamFault<'a> {
    /// Ours, used where the provider's own cannot be.
    pub error: DialectError<'a>,
    /// The provider's error body, when it concerns the request itself: sent byte for byte if it is an
    /// error of the dialect.
    pub upstream_body: Option<&'a [u8]>,
    /// The id the stream's response has shown, if any (Responses).
    pub response_id: Option<&'a str>,
    /// The number of events already relayed: the next `sequence_number` (Responses).
    pub sequence_number: u64,
}

impl StreamFault<'_> {
    /// The provider's body byte for byte when it holds an error, else ours as `body` writes it.
    pub(crate) fn data(&self, body: impl Fn(&DialectError<'_>) -> Vec<u8>) -> Cow<'_, [u8]> {
        match self.upstream_body.filter(|body| holds_error(body)) {
            Some(body) => Cow::Borrowed(body),
            None => Cow::Owned(body(&self.error)),
        }
    }
}

/// The JSON of a body that holds only texts and numbers, which cannot fail to be written.
pub(crate) fn to_json(body: &impl Serialize) -> Vec<u8> {
    serde_json::to_vec(body).unwrap_or_default()
}

/// Ends an SSE event with this data; data of several lines gets a `data` field each, which a client joins.
pub(crate) fn push_data(event: &mut Vec<u8>, data: &[u8]) {
    for line in data.split(|&byte| byte == b'\n') {
        event.extend_from_slice(b"data: ");
        // A lone CR would end the line too; in JSON it can only be space.
        event.extend(line.strip_suffix(b"\r").unwrap_or(line).iter().filter(|&&byte| byte != b'\r'));
        event.push(b'\n');
    }
    event.push(b'\n');
}
