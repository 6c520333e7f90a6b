//! The one table from what went wrong to what is answered.
//!
//! Answers are RFC 9457 problem documents with a stable `code`. They say what the caller can do and never show
//! internals: the cause of a fault of ours goes to the log, and the answer's `x-request-id` is the bridge to it.

use actix_web::http::StatusCode;
use actix_web::http::header::{CONTENT_TYPE, HeaderValue, RETRY_AFTER, WWW_AUTHENTICATE};
use actix_web::{HttpResponse, ResponseError};
use sea_orm::DbErr;
use serde::Serialize;
use shared::ports::PortError;
use shared::secret::SealError;
use std::fmt;
use thiserror::Error;
use utoipa::ToSchema;

/// What exists behind a path.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Resource {
    /// `users`
    User,
    /// `keys`
    Key,
    /// `provider-groups`
    ProviderGroup,
    /// `providers`
    Provider,
    /// `error-rules`
    ErrorRule,
    /// `model-prices`
    ModelPrice,
    /// `settings`
    Settings,
    /// `logs`
    Log,
    /// `sessions`
    Session,
}

impl Resource {
    /// The name in the audit log and in problem documents.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::User => "user",
            Self::Key => "key",
            Self::ProviderGroup => "provider_group",
            Self::Provider => "provider",
            Self::ErrorRule => "error_rule",
            Self::ModelPrice => "model_price",
            Self::Settings => "settings",
            Self::Log => "log",
            Self::Session => "session",
        }
    }
}

impl fmt::Display for Resource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// One field that cannot be accepted.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
pub struct Violation {
    /// Where: a path such as `model_redirects[0].source`, or a query parameter's name.
    pub field: String,
    /// What is wrong with it.
    pub message: String,
}

impl Violation {
    /// A field and what is wrong with it.
    pub fn new(field: impl Into<String>, message: impl Into<String>) -> Self {
        Self { field: field.into(), message: message.into() }
    }
}

/// Everything that can go wrong behind the API.
#[derive(Debug, Error)]
pub enum Error {
    /// The body is no JSON.
    #[error("body is not JSON")]
    MalformedJson,
    /// The body is not declared as JSON.
    #[error("body is not application/json")]
    UnsupportedMediaType,
    /// The body is larger than accepted.
    #[error("body is too large")]
    BodyTooLarge,
    /// Fields or parameters that cannot be accepted.
    #[error("{} fields cannot be accepted", .0.len())]
    Invalid(Vec<Violation>),
    /// No credential, or a wrong one for this path.
    #[error("not authenticated")]
    Unauthenticated,
    /// Too many wrong credentials from this address.
    #[error("too many wrong credentials")]
    Throttled {
        /// When to come back, in seconds.
        retry_after_secs: u64,
    },
    /// No such path.
    #[error("no such path")]
    NoRoute,
    /// The path exists, with other methods.
    #[error("method not allowed")]
    MethodNotAllowed {
        /// The methods it has.
        allow: String,
    },
    /// No such row.
    #[error("{0} not found")]
    NotFound(Resource),
    /// The name must be unique and is not.
    #[error("{0} with this name exists")]
    NameTaken(Resource),
    /// No more error rules: they all travel to every gateway.
    #[error("there are {0} error rules already")]
    TooManyErrorRules(u64),
    /// The pattern must be unique and is not.
    #[error("an error rule with this pattern exists")]
    PatternTaken,
    /// The group is named by users, keys or providers.
    #[error("group is in use")]
    GroupInUse,
    /// The group `default` stays.
    #[error("the default group cannot be deleted")]
    DefaultGroup,
    /// The row was changed since the caller read it.
    #[error("revision does not match")]
    RevisionMismatch,
    /// The stored secret cannot be opened.
    #[error("secret cannot be opened: {0}")]
    Seal(#[from] SealError),
    /// The operating system gives no random bytes.
    #[error("no random bytes")]
    NoEntropy,
    /// A stored row cannot be understood.
    #[error("{resource} {id} is stored with an unreadable {column}")]
    Corrupt {
        /// Of what kind.
        resource: Resource,
        /// Which one.
        id: String,
        /// Which part of it.
        column: &'static str,
    },
    /// As many tests of providers run as may at a time.
    #[error("too many tests run")]
    TooManyTests,
    /// A provider did not do what was asked of it; what it said, without secrets.
    #[error("{0}")]
    ProviderFailed(String),
    /// The database did not answer in time.
    #[error("the database did not answer in time")]
    Deadline,
    /// Nobody can tell which nodes are there.
    #[error("node registry: {0}")]
    Nodes(#[source] PortError),
    /// Nobody can tell how providers stand.
    #[error("breaker store: {0}")]
    Circuits(#[source] PortError),
    /// Nobody can tell which sessions run.
    #[error("session registry: {0}")]
    Sessions(#[source] PortError),
    /// Nobody can be told about budgets.
    #[error("budget store: {0}")]
    Quotas(#[source] PortError),
    /// The work was broken off: a bug, or the process is stopping.
    #[error("the work was broken off")]
    Broken,
    /// The database refuses or is away.
    #[error("database: {0}")]
    Database(#[from] DbErr),
}

/// Whose fault it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Class {
    /// The caller's.
    Client,
    /// A bug, or broken data.
    Ours,
    /// Something we depend on is away; the same call may succeed later.
    Degraded,
}

impl Error {
    /// Whose fault it is.
    #[must_use]
    pub fn class(&self) -> Class {
        match self.row().0 {
            StatusCode::INTERNAL_SERVER_ERROR => Class::Ours,
            StatusCode::SERVICE_UNAVAILABLE | StatusCode::BAD_GATEWAY => Class::Degraded,
            _ => Class::Client,
        }
    }

    /// The stable code.
    #[must_use]
    pub fn code(&self) -> &'static str {
        self.row().1
    }

    /// The table: status, code, title. All public text is here.
    fn row(&self) -> (StatusCode, &'static str, &'static str) {
        use StatusCode as S;
        match self {
            Self::MalformedJson => (S::BAD_REQUEST, "malformed_json", "The body is not valid JSON"),
            Self::UnsupportedMediaType => (
                S::UNSUPPORTED_MEDIA_TYPE,
                "unsupported_media_type",
                "The body must be sent as application/json",
            ),
            Self::BodyTooLarge => (S::PAYLOAD_TOO_LARGE, "body_too_large", "The body is larger than 1 MiB"),
            Self::Invalid(_) => {
                (S::UNPROCESSABLE_ENTITY, "validation_failed", "Some fields cannot be accepted")
            }
            Self::Unauthenticated => (S::UNAUTHORIZED, "unauthenticated", "A valid credential is needed"),
            Self::Throttled { .. } => {
                (S::TOO_MANY_REQUESTS, "too_many_failures", "Too many wrong credentials; try again later")
            }
            Self::TooManyTests => {
                (S::TOO_MANY_REQUESTS, "too_many_tests", "Four tests of providers run already; try again")
            }
            Self::ProviderFailed(_) => {
                (S::BAD_GATEWAY, "provider_failed", "The provider did not do what was asked of it")
            }
            Self::NoRoute => (S::NOT_FOUND, "no_such_path", "There is nothing at this path"),
            Self::MethodNotAllowed { .. } => {
                (S::METHOD_NOT_ALLOWED, "method_not_allowed", "This path does not take this method")
            }
            Self::NotFound(_) => (S::NOT_FOUND, "not_found", "There is no such resource"),
            Self::NameTaken(_) => (S::CONFLICT, "name_taken", "The name is in use"),
            Self::TooManyErrorRules(_) => {
                (S::CONFLICT, "too_many_error_rules", "There are as many error rules as there may be")
            }
            Self::PatternTaken => (S::CONFLICT, "pattern_taken", "Another error rule has this pattern"),
            Self::GroupInUse => {
                (S::CONFLICT, "group_in_use", "Users, keys or providers still name this group")
            }
            Self::DefaultGroup => {
                (S::CONFLICT, "default_group", "The group `default` always exists and cannot be deleted")
            }
            Self::RevisionMismatch => {
                (S::PRECONDITION_FAILED, "revision_mismatch", "The resource was changed since it was read")
            }
            Self::Seal(SealError::OtherKey) => (
                S::CONFLICT,
                "sealed_under_other_key",
                "The secret was stored under another HUB_SECRET_KEY and cannot be opened",
            ),
            Self::Seal(SealError::Malformed | SealError::Forged | SealError::TooLong)
            | Self::NoEntropy
            | Self::Corrupt { .. }
            | Self::Broken => (S::INTERNAL_SERVER_ERROR, "internal", "Something went wrong here"),
            Self::Nodes(_) => {
                (S::SERVICE_UNAVAILABLE, "nodes_unavailable", "The nodes cannot be asked right now")
            }
            Self::Circuits(_) => {
                (S::SERVICE_UNAVAILABLE, "circuits_unavailable", "The breakers cannot be asked right now")
            }
            Self::Sessions(_) => {
                (S::SERVICE_UNAVAILABLE, "sessions_unavailable", "The sessions cannot be asked right now")
            }
            Self::Quotas(_) => {
                (S::SERVICE_UNAVAILABLE, "quotas_unavailable", "The budgets cannot be reached right now")
            }
            Self::Deadline | Self::Database(_) => {
                (S::SERVICE_UNAVAILABLE, "database_unavailable", "The database cannot be used right now")
            }
        }
    }
}

/// An RFC 9457 problem document.
#[derive(Debug, Serialize, ToSchema)]
pub struct Problem {
    /// `urn:claude-code-hub:problem:<code>`
    #[serde(rename = "type")]
    pub problem_type: String,
    /// One sentence, fixed per code.
    pub title: &'static str,
    /// The HTTP status.
    pub status: u16,
    /// Stable: programs may match on it.
    pub code: &'static str,
    /// What it is about, where the title alone does not say.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub detail: Option<String>,
    /// The fields that cannot be accepted.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub errors: Vec<Violation>,
}

impl ResponseError for Error {
    fn status_code(&self) -> StatusCode {
        self.row().0
    }

    fn error_response(&self) -> HttpResponse {
        let (status, code, title) = self.row();
        let mut answer = HttpResponse::build(status);
        let mut problem = Problem {
            problem_type: format!("urn:claude-code-hub:problem:{code}"),
            title,
            status: status.as_u16(),
            code,
            detail: None,
            errors: Vec::new(),
        };
        match self {
            Self::Invalid(violations) => problem.errors.clone_from(violations),
            Self::NotFound(_) | Self::NameTaken(_) | Self::TooManyErrorRules(_) | Self::ProviderFailed(_) => {
                problem.detail = Some(self.to_string())
            }
            Self::Unauthenticated => {
                answer.insert_header((WWW_AUTHENTICATE, "Bearer"));
            }
            Self::Throttled { retry_after_secs } => {
                answer.insert_header((RETRY_AFTER, *retry_after_secs));
            }
            Self::TooManyTests => {
                answer.insert_header((RETRY_AFTER, 1_u64));
            }
            Self::MethodNotAllowed { allow } => {
                answer.insert_header(("allow", allow.as_str()));
            }
            _ => {}
        }
        if self.class() == Class::Degraded {
            answer.insert_header((RETRY_AFTER, 1_u64));
        }
        let mut answer = answer.json(problem);
        answer.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/problem+json"));
        answer
    }
}
