//! The words by which upstreams tell what went wrong, all in lower case. Types and codes are compared whole;
//! phrases are searched for in the message. A new word of a vendor goes here, with a line in the tests.

pub(super) const CREDENTIAL_CODES: &[&str] = &[
    "authentication_error",
    "billing_error",
    "invalid_api_key",
    "api_key_invalid",
    "unauthenticated",
    // OpenAI answers 429 with this when the account's money is gone: waiting does not help.
    "insufficient_quota",
    "billing_not_active",
    "billing_hard_limit_reached",
    "account_deactivated",
    // new-api and one-api: the relay's customer has no money left, which is this account.
    "insufficient_user_quota",
    "pre_consume_token_quota_failed",
    // ChatGPT's backend: the account's plan has no Codex.
    "usage_not_included",
];
pub(super) const CREDENTIAL_PHRASES: &[&str] = &[
    "credit balance is too low",
    "organization has been disabled",
    "account has been disabled",
    "account has been deactivated",
    "api key not valid",
    "api key expired",
    "invalid x-api-key",
    "oauth token has been revoked",
    "oauth token has expired",
    // Anthropic's 400 when a workspace has used up the budget its owner gave it.
    "reached your specified api usage limits",
    // Gemini's 400 for an account or egress in the wrong country.
    "user location is not supported",
];
pub(super) const PERMISSION_CODES: &[&str] = &["permission_error", "permission_denied"];
pub(super) const OVERLOAD_CODES: &[&str] = &["overloaded_error", "server_is_overloaded", "slow_down"];
pub(super) const OVERLOAD_PHRASES: &[&str] = &[
    "overloaded",
    // Gemini 3 says so instead, with a 503.
    "experiencing high demand",
];
pub(super) const RATE_LIMIT_CODES: &[&str] = &[
    "rate_limit_error",
    "rate_limit_exceeded",
    "resource_exhausted",
    "throttlingexception",
    // ChatGPT's backend, when a subscription's window is used up; also as an event.
    "usage_limit_reached",
];
pub(super) const MODEL_MISSING_CODES: &[&str] = &["model_not_found"];
pub(super) const MODEL_MISSING_PHRASES: &[&str] = &[
    "model not found",
    "model_not_found",
    "unknown model",
    "no such model",
    "invalid model name",
    "invalid model id",
    "model does not exist",
    "model is not supported",
    "model identifier is invalid",
    "not supported by any configured account",
    // Bedrock, with a straight apostrophe or a curly one.
    "with on-demand throughput isn",
    "don't have access to the model",
];
/// These say so under any status: one-api and new-api answer 503 when a model has no channel.
pub(super) const ABSENT_ANYWHERE_PHRASES: &[&str] = &["无可用渠道"];
pub(super) const MISSING_WHEN_NAMED_PHRASES: &[&str] =
    &["does not exist", "not found", "is not available", "not have access", "is not a valid model"];
/// The account does not have what the request goes on from, and nobody else has it.
pub(super) const LOST_RESPONSE_CODES: &[&str] = &["previous_response_not_found"];
pub(super) const REQUEST_FAULT_CODES: &[&str] = &[
    "invalid_request_error",
    "invalid_argument",
    "failed_precondition",
    "out_of_range",
    "request_too_large",
    "context_length_exceeded",
    "string_above_max_length",
    "content_policy_violation",
    "image_too_large",
    "image_too_small",
    "image_parse_error",
    "unsupported_image_media_type",
];
pub(super) const NOT_FOUND_CODES: &[&str] = &["not_found_error", "not_found"];
pub(super) const TIMEOUT_CODES: &[&str] = &["timeout_error", "deadline_exceeded"];
