//! `/api/v1/logs`

use super::types::{Factor, Moment, Page, Usd, decode_cursor, page_limit};
use crate::error::{Error, Resource};
use crate::extract::Params;
use crate::repo::entity::{ledger, request_log};
use crate::repo::logs::{self, LogFilter};
use crate::service::{Actor, Admin};
use actix_web::get;
use actix_web::web::{Data, Json, Path};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use shared::contract::usage::CostBreakdown as StoredBreakdown;
use shared::ids::RequestId;
use shared::money::{Multiplier, NanoUsd};
use shared::time::UnixMillis;
use utoipa::{IntoParams, ToSchema};

/// Tokens by class.
#[derive(Debug, Serialize, ToSchema)]
pub struct Tokens {
    /// Input that no cache served.
    input_tokens: i64,
    /// Input written to the five-minute cache.
    cache_write_5m_tokens: i64,
    /// Input written to the one-hour cache.
    cache_write_1h_tokens: i64,
    /// Input read from a cache.
    cache_read_tokens: i64,
    /// Output, reasoning included.
    output_tokens: i64,
    /// The part of the output that was reasoning.
    reasoning_tokens: i64,
    /// Image input.
    image_input_tokens: i64,
    /// Image output.
    image_output_tokens: i64,
    /// Web searches run by the provider.
    web_search_requests: i64,
}

/// A cost by item; `total` is their sum. The factors are already in the items.
#[derive(Debug, Serialize, ToSchema)]
pub struct CostBreakdown {
    input: Usd,
    cache_write_5m: Usd,
    cache_write_1h: Usd,
    cache_read: Usd,
    output: Usd,
    fees: Usd,
    total: Usd,
    provider_cost_multiplier: Factor,
    group_cost_multiplier: Factor,
}

/// A finished request.
#[derive(Debug, Serialize, ToSchema)]
pub struct LogItem {
    /// `x-request-id` of the answer.
    id: String,
    created_at: Moment,
    user_id: i64,
    key_id: i64,
    /// The provider whose answer the seat got.
    provider_id: Option<i64>,
    /// Endpoint family, e.g. `anthropic_messages`.
    endpoint: String,
    /// The model the seat asked for.
    model: Option<String>,
    /// The model the last provider was asked for.
    upstream_model: Option<String>,
    is_stream: bool,
    /// The HTTP status the seat saw; 499 when it left before one, 0 when nobody knows because the gateway died meanwhile.
    status: i32,
    /// What went wrong after the head was sent.
    error: Option<String>,
    #[serde(flatten)]
    tokens: Tokens,
    cost_usd: Usd,
    cost_breakdown: CostBreakdown,
    /// True when the tokens are (partly) an estimate.
    is_estimate: bool,
    /// True when the catalogue had no price for the model.
    is_unpriced: bool,
    first_byte_ms: Option<i64>,
    first_content_ms: Option<i64>,
    duration_ms: i64,
    stop_reason: Option<String>,
    /// Why the request was refused here; `warmup`: it was answered here, and no provider asked.
    blocked_by: Option<String>,
    session_id: Option<String>,
    message_count: Option<i32>,
    client_ip: Option<String>,
    /// The client's `User-Agent`.
    client: Option<String>,
    upstream_request_id: Option<String>,
    /// Number of tries at providers.
    attempts: i32,
    /// How the provider was chosen, in order.
    #[schema(value_type = Vec<chain::ChainStep>)]
    decision_chain: Value,
}

/// A finished request with its ledger rows.
#[derive(Debug, Serialize, ToSchema)]
pub struct LogDetail {
    #[serde(flatten)]
    item: LogItem,
    /// The configuration revision it was decided on.
    config_revision: u64,
    /// The seed of the draws, a 64-bit number as text.
    routing_seed: String,
    /// One row a try.
    ledger: Vec<LedgerItem>,
}

/// One try at one provider.
#[derive(Debug, Serialize, ToSchema)]
pub struct LedgerItem {
    /// 1 for the first try.
    attempt: i32,
    provider_id: i64,
    upstream_model: Option<String>,
    /// `served`, `failed`, `drained`, `cancelled` or `interrupted`.
    outcome: String,
    #[serde(flatten)]
    tokens: Tokens,
    cost_usd: Usd,
    cost_breakdown: CostBreakdown,
    is_estimate: bool,
    is_unpriced: bool,
    is_long_context: bool,
    is_priority_tier: bool,
    /// Served in Anthropic's fast mode, at a multiple of the price.
    is_fast: bool,
    /// Served in the US alone, which costs more.
    is_us_only: bool,
}

/// Which requests.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct LogList {
    user_id: Option<i64>,
    key_id: Option<i64>,
    /// The provider whose answer the seat got.
    provider_id: Option<i64>,
    /// The model the seat asked for, in full.
    model: Option<String>,
    /// The HTTP status the seat saw.
    status: Option<u16>,
    session_id: Option<String>,
    /// Why the request was refused here, e.g. `model_not_allowed`; `warmup`: it was answered here.
    blocked_by: Option<String>,
    /// From this moment on.
    #[param(value_type = Option<String>, format = DateTime)]
    from: Option<Moment>,
    /// Before this moment.
    #[param(value_type = Option<String>, format = DateTime)]
    to: Option<Moment>,
    /// Items a page, 1 to 200. Default: 50.
    limit: Option<u64>,
    /// `next_cursor` of the page before.
    cursor: Option<String>,
}

/// Lists requests, newest first.
#[utoipa::path(tag = "logs", params(LogList), responses((status = 200, body = Page<LogItem>)))]
#[get("/api/v1/logs")]
pub async fn list_logs(
    admin: Data<Admin>,
    _actor: Actor,
    params: Params<LogList>,
) -> Result<Json<Page<LogItem>>, Error> {
    let params = params.0;
    let limit = page_limit(params.limit)?;
    let filter = LogFilter {
        user_id: params.user_id,
        key_id: params.key_id,
        provider_id: params.provider_id,
        model: params.model,
        status: params.status.map(i32::from),
        session_id: params.session_id,
        blocked_by: params.blocked_by,
        from_ms: params.from.map(|m| m.0.0),
        to_ms: params.to.map(|m| m.0.0),
        before: decode_cursor(params.cursor.as_deref())?,
    };
    let rows = admin
        .run(|admin| async move { Ok(logs::requests(admin.db().reader(), &filter, limit).await?) })
        .await?;
    Ok(Json(Page::of(rows, |row| (row.created_at_ms, row.id.clone()), |row| log_item(row).0)))
}

/// Shows a request with its ledger rows.
#[utoipa::path(tag = "logs", params(("id" = String, Path)), responses((status = 200, body = LogDetail)))]
#[get("/api/v1/logs/{id}")]
pub async fn read_log(admin: Data<Admin>, _actor: Actor, id: Path<String>) -> Result<Json<LogDetail>, Error> {
    let id: RequestId = id.parse().map_err(|_| Error::NotFound(Resource::Log))?;
    let (row, attempts) = admin
        .run(|admin| async move {
            let row = logs::request(admin.db().reader(), id).await?.ok_or(Error::NotFound(Resource::Log))?;
            Ok((row, logs::attempts(admin.db().reader(), &id.to_string()).await?))
        })
        .await?;
    let (item, chain) = log_item(row);
    Ok(Json(LogDetail {
        item,
        config_revision: chain["revision"].as_u64().unwrap_or_default(),
        routing_seed: chain["seed"].as_u64().unwrap_or_default().to_string(),
        ledger: attempts.into_iter().map(ledger_item).collect(),
    }))
}

/// A row as its document, and the chain with what is shown of it only in detail. A stored document of another
/// release is passed on as far as it is understood.
fn log_item(row: request_log::Model) -> (LogItem, Value) {
    let mut chain: Value = serde_json::from_str(&row.decision_chain).unwrap_or_default();
    let steps = chain.get_mut("steps").map_or(Value::Array(Vec::new()), Value::take);
    let breakdown: StoredBreakdown = serde_json::from_str(&row.cost_breakdown).unwrap_or_default();
    let item = LogItem {
        id: row.id,
        created_at: Moment(UnixMillis(row.created_at_ms)),
        user_id: row.user_id,
        key_id: row.key_id,
        provider_id: row.provider_id,
        endpoint: row.endpoint,
        model: row.model,
        upstream_model: row.upstream_model,
        is_stream: row.is_stream,
        status: row.status,
        error: row.error,
        tokens: Tokens {
            input_tokens: row.input_tokens,
            cache_write_5m_tokens: row.cache_write_5m_tokens,
            cache_write_1h_tokens: row.cache_write_1h_tokens,
            cache_read_tokens: row.cache_read_tokens,
            output_tokens: row.output_tokens,
            reasoning_tokens: row.reasoning_tokens,
            image_input_tokens: row.image_input_tokens,
            image_output_tokens: row.image_output_tokens,
            web_search_requests: row.web_search_requests,
        },
        cost_usd: Usd(NanoUsd(row.cost_nano_usd)),
        cost_breakdown: CostBreakdown {
            input: Usd(breakdown.input),
            cache_write_5m: Usd(breakdown.cache_write_5m),
            cache_write_1h: Usd(breakdown.cache_write_1h),
            cache_read: Usd(breakdown.cache_read),
            output: Usd(breakdown.output),
            fees: Usd(breakdown.fees),
            total: Usd(breakdown.total),
            provider_cost_multiplier: Factor(breakdown.factors.provider),
            group_cost_multiplier: Factor(breakdown.factors.group),
        },
        is_estimate: row.is_estimate,
        is_unpriced: row.is_unpriced,
        first_byte_ms: row.first_byte_ms,
        first_content_ms: row.first_content_ms,
        duration_ms: row.duration_ms,
        stop_reason: row.stop_reason,
        blocked_by: row.blocked_by,
        session_id: row.session_id,
        message_count: row.message_count,
        client_ip: row.client_ip,
        client: row.client,
        upstream_request_id: row.upstream_request_id,
        attempts: row.attempts,
        decision_chain: steps,
    };
    (item, chain)
}

fn ledger_item(row: ledger::Model) -> LedgerItem {
    let usd = |nano| Usd(NanoUsd(nano));
    LedgerItem {
        attempt: row.attempt,
        provider_id: row.provider_id,
        upstream_model: row.upstream_model,
        outcome: row.outcome,
        tokens: Tokens {
            input_tokens: row.input_tokens,
            cache_write_5m_tokens: row.cache_write_5m_tokens,
            cache_write_1h_tokens: row.cache_write_1h_tokens,
            cache_read_tokens: row.cache_read_tokens,
            output_tokens: row.output_tokens,
            reasoning_tokens: row.reasoning_tokens,
            image_input_tokens: row.image_input_tokens,
            image_output_tokens: row.image_output_tokens,
            web_search_requests: row.web_search_requests,
        },
        cost_usd: usd(row.cost_nano_usd),
        cost_breakdown: CostBreakdown {
            input: usd(row.input_cost_nano_usd),
            cache_write_5m: usd(row.cache_write_5m_cost_nano_usd),
            cache_write_1h: usd(row.cache_write_1h_cost_nano_usd),
            cache_read: usd(row.cache_read_cost_nano_usd),
            output: usd(row.output_cost_nano_usd),
            fees: usd(row.fees_cost_nano_usd),
            total: usd(row.cost_nano_usd),
            provider_cost_multiplier: Factor(Multiplier(row.provider_cost_multiplier.cast_unsigned())),
            group_cost_multiplier: Factor(Multiplier(row.group_cost_multiplier.cast_unsigned())),
        },
        is_estimate: row.is_estimate,
        is_unpriced: row.is_unpriced,
        is_long_context: row.is_long_context,
        is_priority_tier: row.is_priority_tier,
        is_fast: row.is_fast,
        is_us_only: row.is_us_only,
    }
}

/// How the steps of a decision chain look. They are stored as JSON by the gateway's release and passed on as they
/// are; these types only describe them.
pub mod chain {
    use super::{Deserialize, ToSchema};

    /// One step of a decision chain.
    #[derive(Debug, Deserialize, ToSchema)]
    #[serde(tag = "step", rename_all = "snake_case", deny_unknown_fields)]
    pub enum ChainStep {
        /// A provider was drawn.
        Selected {
            /// Who was drawn.
            provider_id: i64,
            /// The tier that served the draw.
            priority: u32,
            /// The tier in full. Empty: those of the draw before but for the one it drew.
            candidates: Vec<Candidate>,
            /// How many more there were than the chain has room for; absent: none.
            #[serde(default)]
            candidates_left_out: u32,
            /// Why the others could not be drawn.
            excluded: Vec<Exclusion>,
        },
        /// The provider that the session is bound to was taken, without a draw.
        Reused {
            /// Who.
            provider_id: i64,
        },
        /// Nobody was left to draw.
        Exhausted {
            /// Why each provider was out.
            excluded: Vec<Exclusion>,
        },
        /// A try at the drawn provider ended.
        Attempted {
            /// Its number in the request, from 1.
            attempt: u32,
            /// Who was tried.
            provider_id: i64,
            /// `served`, `drained`, `cancelled` or `interrupted`, as its ledger row has it; of one that failed, how, as a fixed
            /// label: `connect_refused`, `overloaded`, `cut_after_content`, …
            result: String,
            /// The provider's HTTP status, when it answered.
            status: Option<u16>,
            /// Milliseconds until its answer was real, or it failed; 0 when nobody knows.
            duration_ms: u64,
            /// The error rule that made its error the request's own fault; absent: none.
            #[serde(default)]
            error_rule_id: Option<i64>,
            /// What its egress proxy failed with (`proxy_refused`, …) when the try went on without it; absent: it did not.
            #[serde(default)]
            direct_after: Option<String>,
            /// How often it was sent again on another connection, because a kept one turned out closed before it took anything
            /// up; absent: never.
            #[serde(default)]
            resends: u32,
        },
        /// Nobody else was tried, though somebody may have been left.
        Stopped {
            /// Why, as a fixed label: `request_fault` (it would fail anywhere), `deadline`, `timed_out_twice`, `switches` (too many changes of provider)
            /// or `resend_budget` (the gateway re-sends too much already).
            reason: String,
        },
        /// Here the chain had no room.
        LeftOut {
            /// How many steps are missing.
            steps: u32,
        },
    }

    /// A provider that could be drawn.
    #[derive(Debug, Deserialize, ToSchema)]
    #[serde(deny_unknown_fields)]
    pub struct Candidate {
        /// Who.
        pub provider_id: i64,
        /// Its share of the draw.
        pub weight: u32,
    }

    /// A reason why providers were out.
    #[derive(Debug, Deserialize, ToSchema)]
    #[serde(deny_unknown_fields)]
    pub struct Exclusion {
        /// A fixed label: `disabled`, `other_group`, …
        pub reason: String,
        /// How many.
        pub count: u32,
        /// The first 20 of them.
        pub provider_ids: Vec<i64>,
    }
}
