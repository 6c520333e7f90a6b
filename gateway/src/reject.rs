//! The one table of our own answers to a seat: what each refusal is called, and how it leaves in the caller's
//! dialect. The text is fixed; the cause is in the log under the request id.

use crate::live::Unusable;
use bytes::Bytes;
use pingora::http::ResponseHeader;
use shared::ids::RequestId;
use shared::model::ClientDenied;
use shared::protocol::Dialect;
use shared::protocol::error::{DialectError, ErrorKind, Retry, StreamFault};
use shared::protocol::scan::ScanError;
use shared::rules::access::{Denied, ModelDenied};
use shared::rules::quota::need::Unbounded;
use shared::rules::quota::{Refusal, headers};
use shared::rules::retry::UNTOLD_WAIT_SECS;
use shared::time::UnixMillis;

/// Why a request is refused here.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Reject {
    /// There is no configuration to serve by, or none that can be believed.
    Config(Unusable),
    /// No such path.
    UnknownPath,
    /// OpenAI resources that live at one account.
    StatefulResource,
    /// A path of ours with another method.
    MethodNotAllowed(&'static str),
    /// `/v1/responses` over WebSocket: the client falls back to HTTP.
    WebsocketUpgrade,
    /// No HTTP request.
    UnreadableHead,
    /// Header section over its bounds.
    HeadersTooLarge,
    /// No credential.
    NoCredential,
    /// Several credentials that differ.
    ConflictingCredentials,
    /// Nobody has this key.
    UnknownKey,
    /// The key or its user is not in order.
    Denied(Denied),
    /// Too many wrong credentials.
    TooManyFailures,
    /// The user's client rules leave this program out.
    ClientDenied(ClientDenied),
    /// The user's or key's models leave this one out.
    ModelDenied(ModelDenied),
    /// The body is over 100 MiB, before or after decoding.
    BodyTooLarge,
    /// The process holds as many bodies as it may.
    BodyMemory,
    /// The body could not be read to its end.
    BodyIncomplete,
    /// More than one encoding, or one we do not know.
    EncodingUnknown,
    /// The body is not what its encoding says.
    EncodingBroken,
    /// The body is not what the endpoint takes.
    BadBody(ScanError),
    /// The body names no model.
    NoModel,
    /// `background: true`.
    Background,
    /// What it goes on from is not known, or whoever made that is gone.
    PreviousResponseNotFound,
    /// Who made what it goes on from cannot be found out just now.
    ResponseStoreUnreachable,
    /// A limit of the user or the key stands against it; as it was at this moment.
    Limit(Box<(Refusal, UnixMillis)>),
    /// How the budgets stand cannot be found out just now.
    QuotaUnreachable,
    /// The most that it can cost is to be put aside, and there is no most.
    Unbounded(Unbounded),
    /// No provider could serve.
    NoProvider {
        /// The reason classes; empty when there are none to tell.
        reasons: Vec<&'static str>,
        /// The shortest wait that an upstream asked for.
        retry_after_secs: Option<u64>,
    },
    /// No model of this name is served to this caller.
    UnknownModel,
    /// Every account was at its rate; seconds until one is free.
    AllRateLimited(u64),
}

/// What a refusal is in HTTP.
struct Entry {
    status: u16,
    kind: ErrorKind,
    /// Stable word: `blocked_by` in the log, `code` in the body.
    code: &'static str,
    /// Whether the same request may succeed a little later.
    should_retry: bool,
}

impl Reject {
    /// The table.
    fn entry(&self) -> Entry {
        use ErrorKind::{
            Authentication, Billing, InvalidRequest, NotFound, Permission, RateLimit, TooLarge, Unavailable,
        };
        let (status, kind, code, should_retry) = match self {
            Self::Config(unusable) => (503, Unavailable, unusable.label(), true),
            Self::UnknownPath => (404, NotFound, "unknown_path", false),
            Self::StatefulResource => (404, NotFound, "stateful_resource", false),
            Self::MethodNotAllowed(_) => (405, InvalidRequest, "method_not_allowed", false),
            Self::WebsocketUpgrade => (426, InvalidRequest, "websocket_not_supported", false),
            Self::UnreadableHead => (400, InvalidRequest, "unreadable_head", false),
            Self::HeadersTooLarge => (431, InvalidRequest, "headers_too_large", false),
            Self::NoCredential => (401, Authentication, "no_credential", false),
            Self::ConflictingCredentials => (401, Authentication, "conflicting_credentials", false),
            Self::UnknownKey => (401, Authentication, "invalid_api_key", false),
            Self::Denied(denied) => (401, Authentication, denied.label(), false),
            Self::TooManyFailures => (429, RateLimit, "too_many_failures", false),
            Self::ClientDenied(denied) => (403, Permission, denied.label(), false),
            Self::ModelDenied(denied) => (403, Permission, denied.label(), false),
            Self::BodyTooLarge => (413, TooLarge, "body_too_large", false),
            Self::BodyMemory => (503, Unavailable, "body_memory", true),
            Self::BodyIncomplete => (400, InvalidRequest, "body_incomplete", false),
            Self::EncodingUnknown => (415, InvalidRequest, "encoding_unknown", false),
            Self::EncodingBroken => (400, InvalidRequest, "encoding_broken", false),
            Self::BadBody(error) => (400, InvalidRequest, error.label(), false),
            Self::NoModel => (400, InvalidRequest, "no_model", false),
            Self::Background => (400, InvalidRequest, "background_not_supported", false),
            Self::PreviousResponseNotFound => (404, NotFound, "previous_response_not_found", false),
            Self::ResponseStoreUnreachable => (503, Unavailable, "response_store_unreachable", true),
            Self::Limit(limit) if limit.0.is_money() => (429, Billing, limit.0.label(), false),
            Self::Limit(limit) => (429, RateLimit, limit.0.label(), true),
            Self::QuotaUnreachable => (429, RateLimit, "quota_unreachable", true),
            Self::Unbounded(_) => (400, InvalidRequest, "cost_unbounded", false),
            Self::NoProvider { .. } => (503, Unavailable, "no_available_providers", true),
            Self::UnknownModel => (404, NotFound, "model_not_found", false),
            Self::AllRateLimited(_) => (429, RateLimit, "providers_rate_limited", true),
        };
        Entry { status, kind, code, should_retry }
    }

    /// The stable word for the log's `blocked_by`.
    #[must_use]
    pub fn label(&self) -> &'static str {
        self.entry().code
    }

    /// The HTTP status.
    #[must_use]
    pub fn status(&self) -> u16 {
        self.entry().status
    }

    /// Seconds for `retry-after`.
    fn retry_after_secs(&self) -> Option<u64> {
        match self {
            Self::BodyMemory => Some(1),
            Self::Config(_) | Self::ResponseStoreUnreachable | Self::QuotaUnreachable => {
                Some(UNTOLD_WAIT_SECS)
            }
            Self::Limit(limit) => limit.0.retry_after_secs(limit.1),
            Self::NoProvider { retry_after_secs, .. } => Some(retry_after_secs.unwrap_or(UNTOLD_WAIT_SECS)),
            Self::AllRateLimited(secs) => Some(*secs),
            Self::TooManyFailures => Some(FAILURE_WINDOW_SECS),
            _ => None,
        }
    }

    fn error<'a>(&self, dialect: Dialect, message: &'a str, request_id: &'a str) -> DialectError<'a> {
        let Entry { status, kind, code, should_retry } = self.entry();
        let retry = Retry { is_final: !should_retry, after_secs: self.retry_after_secs() };
        let error = DialectError::new(status, message, request_id).with_kind(kind).with_retry(retry);
        match (kind, dialect) {
            // Clients know a used-up budget by the dialect's own code: `insufficient_quota`.
            (ErrorKind::Billing, Dialect::OpenaiChat | Dialect::OpenaiResponses) => error,
            _ => error.with_code(code),
        }
    }

    fn message(&self) -> String {
        match self {
            Self::Config(Unusable::Missing) => "This gateway has no configuration yet; try again.".into(),
            Self::Config(Unusable::Stale) => {
                "This gateway has been cut off from its configuration for too long.".into()
            }
            Self::UnknownPath => "This gateway does not serve this path.".into(),
            Self::StatefulResource => {
                "This resource lives at one provider account; this gateway does not map it yet.".into()
            }
            Self::MethodNotAllowed(allow) => format!("This path takes {allow} only."),
            Self::WebsocketUpgrade => "WebSocket is not supported here; use HTTP streaming.".into(),
            Self::UnreadableHead => {
                "The request head is no valid HTTP, or has more fields or bytes than can be read.".into()
            }
            Self::HeadersTooLarge => "The request headers are over 64 KiB or 200 fields.".into(),
            Self::NoCredential => {
                "No API key: send it as `Authorization: Bearer`, `x-api-key` or `x-goog-api-key`.".into()
            }
            Self::ConflictingCredentials => "Several different API keys were sent; send one.".into(),
            Self::UnknownKey => "Invalid API key.".into(),
            Self::Denied(denied) => format!("Access denied: {denied}."),
            Self::TooManyFailures => "Too many failed authentications; try again later.".into(),
            Self::ClientDenied(denied) => format!("Access denied: {denied}."),
            Self::ModelDenied(denied) => format!("Access denied: {denied}."),
            Self::BodyTooLarge => "The request body is over 100 MiB.".into(),
            Self::BodyMemory => "The gateway holds too many large requests right now; try again.".into(),
            Self::BodyIncomplete => "The request body ended early or came too slowly.".into(),
            Self::EncodingUnknown => {
                "Content-Encoding must be one of gzip, deflate, br, zstd, applied once.".into()
            }
            Self::EncodingBroken => "The request body is not what its Content-Encoding says.".into(),
            Self::BadBody(error) => format!("The request body cannot be used: {error}."),
            Self::NoModel => "The request names no model.".into(),
            Self::Background => "`background: true` is not supported here.".into(),
            Self::PreviousResponseNotFound => {
                "The previous response was not found: it is not known here, or its provider is gone. Send the \
                 whole conversation instead."
                    .into()
            }
            Self::ResponseStoreUnreachable => {
                "Which provider made the previous response cannot be found out right now; try again.".into()
            }
            Self::Limit(limit) => limit.0.message(),
            Self::QuotaUnreachable => "How your budgets stand cannot be found out right now; try again.".into(),
            Self::Unbounded(why) => {
                format!("Your budget only takes requests whose cost has an upper bound: {why}.")
            }
            Self::NoProvider { reasons, .. } if reasons.is_empty() => "No available providers.".into(),
            Self::NoProvider { reasons, .. } => format!("No available providers: {}.", reasons.join(", ")),
            Self::UnknownModel => "No model of this name is served here.".into(),
            Self::AllRateLimited(_) => "All providers are at their rate limit; try again later.".into(),
        }
    }

    /// The refusal as an error in a stream whose head was sent already.
    #[must_use]
    pub fn in_stream(&self, dialect: Dialect, id: RequestId) -> Bytes {
        let (request_id, message) = (id.to_string(), self.message());
        let error = self.error(dialect, &message, &request_id);
        let fault = StreamFault { error, upstream_body: None, response_id: None, sequence_number: 0 };
        dialect.stream_error(&fault).into()
    }

    /// Head and body of the answer in the caller's dialect.
    pub fn answer(&self, dialect: Dialect, id: RequestId) -> pingora::Result<(ResponseHeader, Bytes)> {
        let entry = self.entry();
        let request_id = id.to_string();
        let message = self.message();
        let error = self.error(dialect, &message, &request_id);
        let body = Bytes::from(dialect.error_body(&error));
        let mut head = ResponseHeader::build_no_case(entry.status, Some(8))?;
        head.insert_header("content-type", "application/json")?;
        head.insert_header("content-length", body.len().to_string())?;
        head.insert_header("x-request-id", request_id.as_str())?;
        // SDKs obey this before they look at the status.
        head.insert_header("x-should-retry", if entry.should_retry { "true" } else { "false" })?;
        if let Some(secs) = self.retry_after_secs() {
            head.insert_header("retry-after", secs.to_string())?;
        }
        if let Self::Limit(limit) = self {
            for (name, value) in headers::of_refusal(dialect, &limit.0, limit.1) {
                head.insert_header(name, value)?;
            }
        }
        if let Self::MethodNotAllowed(allow) = self {
            head.insert_header("allow", *allow)?;
        }
        Ok((head, body))
    }
}

/// How long a flood of wrong credentials is remembered, in seconds.
pub const FAILURE_WINDOW_SECS: u64 = 300;

#[cfg(test)]
mod tests;
