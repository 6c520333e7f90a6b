//! `/api/v1/providers/test`, `/api/v1/providers/{id}/test`, `/api/v1/providers/{id}/models`

use super::providers::{ProviderCreate, ProviderUpdate};
use super::types::Moment;
use crate::error::Error;
use crate::extract::Fields;
use crate::outside::Taken;
use crate::service::provider_tests::{self as tests, Tested, Wanted, longest};
use crate::service::providers::ProviderFields;
use crate::service::{Actor, Admin};
use actix_web::web::{Data, Json, Path};
use actix_web::{get, post};
use serde::{Deserialize, Serialize};
use shared::contract::usage::TokenUsage;
use shared::ids::ProviderId;
use shared::rules::provider_test::Grade;
use utoipa::ToSchema;

/// What may be chosen about a test.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct ProviderTestOptions {
    /// What is asked. `claude_code`, `claude_plain`; `codex_cli`, `responses_plain`; `chat_plain`, `chat_stream`;
    /// `gemini_plain`, `gemini_stream`. Default: the first of the provider's type.
    preset: Option<String>,
    /// For which model, before redirects. Default: a small one of the vendor.
    model: Option<String>,
    /// How long all of it may take, in ms, 1000 to 60000. Default: 30000.
    timeout_ms: Option<u64>,
    /// Above how many ms the answer is slow, 1 to 60000. Default: 5000.
    latency_limit_ms: Option<u64>,
}

/// A provider to be made, and what may be chosen about its test.
#[derive(ToSchema)]
#[expect(dead_code, reason = "for the document; a body is read in its two parts")]
pub struct ProviderTest {
    #[serde(flatten)]
    provider: ProviderCreate,
    #[serde(flatten)]
    options: ProviderTestOptions,
}

/// What would change of a provider, and what may be chosen about its test.
#[derive(ToSchema)]
#[expect(dead_code, reason = "for the document; a body is read in its two parts")]
pub struct ProviderChangeTest {
    #[serde(flatten)]
    change: ProviderUpdate,
    #[serde(flatten)]
    options: ProviderTestOptions,
}

/// How a test went.
#[derive(Debug, Serialize, ToSchema)]
pub struct ProviderTestResult {
    /// `ok`; `degraded`: it serves, but slowly, or what it says is not what was asked for; `failed`.
    verdict: &'static str,
    /// `ok`, `slow`, `unexpected_content`, `unusable`, or whose fault it was, as in the log: `credential`, `rate_limit`,
    /// `overload`, `model_missing`, `not_found`, `request_fault`, `server_error`, `timeout`, `fake_success`, `transport`.
    reason: &'static str,
    /// The same closer, as in the decision chain: `fake_success_html`, `connect_tls`, `proxy_auth`, …
    label: &'static str,
    checks: ProviderTestChecks,
    http_status: Option<u16>,
    /// Until the head of the answer was there, the connection included.
    first_byte_ms: Option<u64>,
    total_ms: u64,
    preset: &'static str,
    /// Before redirects.
    model: String,
    /// After redirects.
    upstream_model: Option<String>,
    /// As the answer names it.
    answered_model: Option<String>,
    /// As the answer counts them; null: it does not.
    usage: Option<ProviderTestUsage>,
    /// What the answer says, at most 500 characters.
    text: Option<String>,
    /// The provider's own words of what is wrong, at most 2000 characters, without secrets.
    error: Option<String>,
    transport_error: Option<ProviderTestTransportError>,
    /// Where it was asked.
    url: Option<String>,
    /// `proxy` or `direct`; null: nowhere.
    via: Option<&'static str>,
    /// What the proxy failed with when it went directly instead.
    direct_after: Option<&'static str>,
    tested_at: Moment,
}

/// The three tiers; null: it did not come to that.
#[derive(Debug, Serialize, ToSchema)]
pub struct ProviderTestChecks {
    /// A success, and an answer.
    status: bool,
    /// Not slow.
    latency: Option<bool>,
    /// Says what was asked for.
    content: Option<bool>,
}

/// Tokens of a test.
#[derive(Debug, Serialize, ToSchema)]
pub struct ProviderTestUsage {
    input_tokens: u64,
    cache_write_5m_tokens: u64,
    cache_write_1h_tokens: u64,
    cache_read_tokens: u64,
    output_tokens: u64,
}

/// What went wrong on the way.
#[derive(Debug, Serialize, ToSchema)]
pub struct ProviderTestTransportError {
    /// `dns`, `refused`, `unreachable`, `reset`, `tls`, `timeout`, `proxy`, `not_http`.
    kind: &'static str,
    message: String,
}

/// The models that a provider says it has.
#[derive(Debug, Serialize, ToSchema)]
pub struct ProviderModels {
    items: Vec<ProviderModel>,
}

/// One of them.
#[derive(Debug, Serialize, ToSchema)]
pub struct ProviderModel {
    id: String,
    display_name: Option<String>,
}

/// Tests a provider before it is made: one short question on the way that requests would go. It counts nowhere: no breaker,
/// no log, no statistics. Four tests run at a time, more are answered 429.
#[utoipa::path(
    tag = "providers",
    request_body = ProviderTest,
    responses((status = 200, body = ProviderTestResult))
)]
#[post("/api/v1/providers/test")]
pub async fn test_new_provider(
    admin: Data<Admin>,
    _actor: Actor,
    body: Fields,
) -> Result<Json<ProviderTestResult>, Error> {
    let mut body = body;
    let wanted = wanted(&mut body)?;
    // A test needs no name yet.
    body.default("name", "test");
    let (fields, key) = body.rest::<ProviderCreate>()?.parse()?;
    let longest = longest(&wanted);
    let work = |admin| tests::unsaved(admin, fields, key, wanted);
    Ok(Json(admin.run_within(longest, work).await?.into()))
}

/// Tests a provider, with its stored secrets. What a change would set may be sent along: it is tested, not kept. When its
/// secrets go another way than the stored one by that, the audit log says so.
#[utoipa::path(
    tag = "providers",
    params(("id" = i64, Path)),
    request_body(content = Option<ProviderChangeTest>),
    responses((status = 200, body = ProviderTestResult))
)]
#[post("/api/v1/providers/{id}/test")]
pub async fn test_provider(
    admin: Data<Admin>,
    actor: Actor,
    id: Path<i64>,
    body: Fields,
) -> Result<Json<ProviderTestResult>, Error> {
    let mut body = body;
    let wanted = wanted(&mut body)?;
    let mut edit = body.rest::<ProviderUpdate>()?.parse()?;
    let key = edit.key.take();
    let apply = move |fields: &mut ProviderFields| edit.apply(fields);
    let (id, longest) = (ProviderId(*id), longest(&wanted));
    let work = |admin| tests::saved(admin, actor, id, key, apply, wanted);
    Ok(Json(admin.run_within(longest, work).await?.into()))
}

/// Asks a provider which models it has. What it answers in their place is in the `detail` of a 502.
#[utoipa::path(
    tag = "providers",
    params(("id" = i64, Path)),
    responses((status = 200, body = ProviderModels), (status = 502, description = "The provider did not list its models"))
)]
#[get("/api/v1/providers/{id}/models")]
pub async fn list_provider_models(
    admin: Data<Admin>,
    _actor: Actor,
    id: Path<i64>,
) -> Result<Json<ProviderModels>, Error> {
    let id = ProviderId(*id);
    let longest = longest(&Wanted::default());
    let models = admin.run_within(longest, |admin| tests::models(admin, id)).await?;
    let item = |model: tests::UpstreamModel| ProviderModel { id: model.id, display_name: model.display_name };
    Ok(Json(ProviderModels { items: models.into_iter().map(item).collect() }))
}

fn wanted(body: &mut Fields) -> Result<Wanted, Error> {
    let names = ["preset", "model", "timeout_ms", "latency_limit_ms"];
    let ProviderTestOptions { preset, model, timeout_ms, latency_limit_ms } = body.take(&names)?;
    Ok(Wanted { preset, model, timeout_ms, latency_limit_ms })
}

impl From<Tested> for ProviderTestResult {
    fn from(tested: Tested) -> Self {
        let judged = tested.judged;
        let (via, direct_after) = match tested.taken {
            Some(Taken::Direct) => (Some("direct"), None),
            Some(Taken::Proxy) => (Some("proxy"), None),
            Some(Taken::DirectAfter(why)) => (Some("direct"), Some(why.label())),
            None => (None, None),
        };
        Self {
            verdict: match judged.grade {
                Grade::Ok => "ok",
                Grade::Degraded => "degraded",
                Grade::Failed => "failed",
            },
            reason: judged.reason,
            label: judged.label,
            checks: ProviderTestChecks {
                status: judged.checks.status,
                latency: judged.checks.latency,
                content: judged.checks.content,
            },
            http_status: tested.status,
            first_byte_ms: tested.first_byte_ms,
            total_ms: tested.total_ms,
            preset: tested.preset.id,
            model: tested.model,
            upstream_model: tested.upstream_model,
            answered_model: judged.model,
            usage: judged.usage.map(Into::into),
            text: Some(judged.text).filter(|text| !text.is_empty()),
            error: judged.error,
            transport_error: tested
                .transport
                .map(|error| ProviderTestTransportError { kind: error.kind, message: error.text }),
            url: tested.url,
            via,
            direct_after,
            tested_at: Moment(tested.at),
        }
    }
}

impl From<TokenUsage> for ProviderTestUsage {
    fn from(usage: TokenUsage) -> Self {
        Self {
            input_tokens: usage.input_tokens,
            cache_write_5m_tokens: usage.cache_write_5m_tokens,
            cache_write_1h_tokens: usage.cache_write_1h_tokens,
            cache_read_tokens: usage.cache_read_tokens,
            output_tokens: usage.output_tokens,
        }
    }
}
