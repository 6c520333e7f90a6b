//! `/api/v1/error-rules/test`

use super::error_rules::ErrorRuleDocument;
use super::routing::ClientFormat;
use crate::error::{Error, Violation};
use crate::extract::Body;
use crate::service::error_rules::tester::{self, Question, Tested};
use crate::service::{Actor, Admin};
use actix_web::post;
use actix_web::web::{Data, Json};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use shared::rules::classify::Next;
use utoipa::ToSchema;

/// An error as an upstream might write it: `message` or `body`.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct ErrorRuleTest {
    /// The error as text, e.g. pasted from a log: a JSON document in it is read as one.
    message: Option<String>,
    /// The error as the JSON document it is.
    #[schema(value_type = Option<Object>)]
    body: Option<Value>,
    /// The HTTP status it stands under, 400 to 599, or 200: an error under a success. Default: 400.
    status: Option<u16>,
    /// What the seat speaks. Default: `anthropic`.
    #[schema(inline)]
    dialect: Option<ClientFormat>,
    /// The model the upstream was asked for.
    model: Option<String>,
}

/// What the error means.
#[derive(Debug, Serialize, ToSchema)]
pub struct ErrorRuleTested {
    /// The first enabled rule that matches; null: none.
    rule: Option<ErrorRuleDocument>,
    /// True when that rule decides: what is said of an account, a vendor or a model goes before rules.
    is_decided_by_rule: bool,
    /// Whose fault it is: `request_fault`, `credential`, `rate_limit`, `overload`, `model_missing`, `not_found`,
    /// `server_error`, `timeout`, `fake_success`.
    class: &'static str,
    /// What the gateway does next.
    #[schema(inline)]
    next: NextStep,
    /// True when it counts against the provider's breaker.
    counts_for_breaker: bool,
    /// How long the error asks to wait, in seconds.
    retry_after_secs: Option<u64>,
    /// The status that the seat sees; null: the gateway's own error, once nobody is left to ask.
    status: Option<u16>,
    /// The body that the seat reads: JSON, else its text.
    #[schema(value_type = Option<Object>)]
    body: Option<Value>,
    /// What an admin should know.
    warnings: Vec<String>,
}

/// What the gateway does after an error.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum NextStep {
    /// The seat gets it.
    Stop,
    /// Asks the same provider again.
    RetrySameProvider,
    /// Asks another one.
    NextProvider,
    /// Asks another one, or this one again when nobody else is left.
    NextProviderElseSame,
}

impl ErrorRuleTest {
    fn parse(self) -> Result<Question, Error> {
        let invalid = |field: &str, message: &str| Error::Invalid(vec![Violation::new(field, message)]);
        let body = match (self.message, self.body) {
            (Some(message), None) => message.into_bytes(),
            (None, Some(body)) => body.to_string().into_bytes(),
            (Some(_), Some(_)) => return Err(invalid("body", "must not stand beside message")),
            (None, None) => return Err(invalid("message", "is missing, and so is body")),
        };
        let status = self.status.unwrap_or(400);
        if status != 200 && !(400..=599).contains(&status) {
            return Err(invalid("status", "must be 200 or 400 to 599"));
        }
        let dialect = self.dialect.unwrap_or(ClientFormat::Anthropic).into();
        Ok(Question { body, status, dialect, model: self.model.filter(|model| !model.is_empty()) })
    }
}

/// Says what an error would mean and what the seat would read, by the rules as they are now. Changes nothing.
#[utoipa::path(
    tag = "error-rules",
    request_body = ErrorRuleTest,
    responses((status = 200, body = ErrorRuleTested))
)]
#[post("/api/v1/error-rules/test")]
pub async fn test_error_rules(
    admin: Data<Admin>,
    _actor: Actor,
    body: Body<ErrorRuleTest>,
) -> Result<Json<ErrorRuleTested>, Error> {
    let question = body.0.parse()?;
    let said = question.body.clone();
    let tested = admin.run(|admin| tester::test(admin, question)).await?;
    Ok(Json(answer(tested, said)))
}

fn answer(tested: Tested, said: Vec<u8>) -> ErrorRuleTested {
    let Tested { rule, verdict, counts_for_breaker, retry_after_secs, shown, warnings } = tested;
    let body = shown.as_ref().map(|shown| {
        let bytes = shown.body.as_deref().unwrap_or(&said);
        let text = || Value::String(String::from_utf8_lossy(bytes).into_owned());
        serde_json::from_slice(bytes).unwrap_or_else(|_| text())
    });
    ErrorRuleTested {
        is_decided_by_rule: verdict.rule.is_some(),
        rule: rule.map(ErrorRuleDocument::from),
        class: verdict.class.label(),
        next: match verdict.next {
            Next::Stop => NextStep::Stop,
            Next::RetrySameProvider => NextStep::RetrySameProvider,
            Next::NextProvider => NextStep::NextProvider,
            Next::NextProviderElseSame => NextStep::NextProviderElseSame,
        },
        counts_for_breaker,
        retry_after_secs,
        status: shown.map(|shown| shown.status),
        body,
        warnings,
    }
}
