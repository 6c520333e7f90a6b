//! `/api/v1/quotas`

use super::types::{Moment, Page, Usd, decode_cursor, encode_cursor, page_limit};
use crate::error::Error;
use crate::extract::Params;
use crate::service::quotas::{AccountKind, OfKey, Quota, QuotaCount, QuotaWindow, Wanted, list};
use crate::service::{Actor, Admin};
use actix_web::get;
use actix_web::web::{Data, Json};
use serde::{Deserialize, Serialize};
use shared::ids::{ProviderId, UserId};
use shared::money::NanoUsd;
use shared::rules::quota::{AccountId, Kind, RequestsNow, SessionsNow, WindowNow};
use utoipa::{IntoParams, ToSchema};

/// Whose budget.
#[derive(Clone, Copy, Debug, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum QuotaKindName {
    /// A user's, with its keys.
    User,
    /// A provider's.
    Provider,
}

/// Whose limit.
#[derive(Clone, Copy, Debug, Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum QuotaScopeName {
    /// The user's: of all keys together.
    User,
    /// The key's own.
    Key,
    /// The provider's.
    Provider,
}

/// Which stretch of time.
#[derive(Clone, Copy, Debug, Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum QuotaWindowName {
    /// Five hours.
    #[serde(rename = "5h")]
    FiveHours,
    /// A day.
    Daily,
    /// From Monday to Sunday.
    Weekly,
    /// A calendar month.
    Monthly,
    /// For good, or since the last reset.
    Total,
}

/// How a user or provider stands that is under limits.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Quota)]
pub struct QuotaDocument {
    kind: QuotaKindName,
    /// The user's or the provider's.
    id: i64,
    name: String,
    /// False: what was spent is not known yet (limits are new, or Redis has lost what it had). It is being read from the ledger;
    /// meanwhile only limits are said.
    is_open: bool,
    #[serde(flatten)]
    limits: QuotaLimitsDocument,
}

/// Limits and how they stand.
#[derive(Debug, Default, Serialize, ToSchema)]
#[schema(as = QuotaLimits)]
pub struct QuotaLimitsDocument {
    /// Windows that have a limit of money: those of the user or the provider, then those of keys.
    windows: Vec<QuotaWindowDocument>,
    /// Limits on the requests of a minute, in the same order.
    requests: Vec<QuotaRequestsDocument>,
    /// Limits on conversations at a time, in the same order.
    sessions: Vec<QuotaSessionsDocument>,
}

/// How many requests of a minute are left.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = QuotaRequests)]
pub struct QuotaRequestsDocument {
    scope: QuotaScopeName,
    /// Null where the limit is no key's.
    key_id: Option<i64>,
    key_name: Option<String>,
    /// How many there may be: `rpm_limit`.
    limit: u32,
    /// How many there were in the last minute, in steps of five seconds; null: not known yet, like all that follows.
    current: Option<u32>,
    /// How many more there may be now.
    remaining: Option<u32>,
    /// When none of them counts any more, if no other comes; null: none does.
    resets_at: Option<Moment>,
}

/// How many conversations run.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = QuotaSessions)]
pub struct QuotaSessionsDocument {
    scope: QuotaScopeName,
    /// Null where the limit is no key's.
    key_id: Option<i64>,
    key_name: Option<String>,
    /// How many there may be at a time: `limit_concurrent_sessions`.
    limit: u32,
    /// How many were seen within `SESSION_TTL`; null: not known yet.
    current: Option<u32>,
}

/// How a window stands.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = QuotaWindow)]
pub struct QuotaWindowDocument {
    scope: QuotaScopeName,
    /// Null where the limit is no key's.
    key_id: Option<i64>,
    key_name: Option<String>,
    window: QuotaWindowName,
    /// What may be spent, in US dollars.
    limit_usd: Usd,
    /// What was; null: not known yet, like all that follows.
    spent_usd: Option<Usd>,
    /// What is put aside: for requests under way, and by gateways ahead of requests.
    held_usd: Option<Usd>,
    /// How much of that gateways have put aside ahead, for several requests at once: some of these may be under way. What is not
    /// needed goes back after some seconds, and at once when a request would be refused for it.
    escrowed_usd: Option<Usd>,
    /// What is left of the limit without `spent_usd` and `held_usd`; never below 0.
    remaining_usd: Option<Usd>,
    /// When the window began; null: it did not, or never ends.
    starts_at: Option<Moment>,
    /// When it begins anew; null: gradually, or never.
    resets_at: Option<Moment>,
}

impl From<Quota> for QuotaDocument {
    fn from(quota: Quota) -> Self {
        let (kind, id) = place(quota.account);
        Self { kind, id, name: quota.name.clone(), is_open: quota.is_open, limits: quota.into() }
    }
}

impl From<Quota> for QuotaLimitsDocument {
    fn from(Quota { account, windows, requests, sessions, .. }: Quota) -> Self {
        Self {
            windows: windows.into_iter().map(|window| window_document(account, window)).collect(),
            requests: requests.into_iter().map(|count| requests_document(account, count)).collect(),
            sessions: sessions.into_iter().map(|count| sessions_document(account, count)).collect(),
        }
    }
}

fn window_document(account: AccountId, QuotaWindow { key, window, now }: QuotaWindow) -> QuotaWindowDocument {
    let amount = |of: fn(&WindowNow) -> NanoUsd| now.as_ref().map(of).map(Usd);
    let (scope, key_id, key_name) = whose(account, key);
    QuotaWindowDocument {
        scope,
        key_id,
        key_name,
        window: window.kind.into(),
        limit_usd: Usd(window.limit),
        spent_usd: amount(|now| now.spent),
        held_usd: amount(|now| now.held),
        escrowed_usd: amount(|now| now.escrowed),
        remaining_usd: amount(|now| (now.limit - now.spent - now.held).max(NanoUsd::ZERO)),
        starts_at: now.and_then(|now| now.starts_at).map(Moment),
        resets_at: now.and_then(|now| now.resets_at).map(Moment),
    }
}

fn requests_document(
    account: AccountId,
    QuotaCount { key, limit, now }: QuotaCount<RequestsNow>,
) -> QuotaRequestsDocument {
    let (scope, key_id, key_name) = whose(account, key);
    QuotaRequestsDocument {
        scope,
        key_id,
        key_name,
        limit,
        current: now.map(|now| now.current),
        remaining: now.map(|now| now.remaining()),
        resets_at: now.and_then(|now| now.resets_at).map(Moment),
    }
}

fn sessions_document(
    account: AccountId,
    QuotaCount { key, limit, now }: QuotaCount<SessionsNow>,
) -> QuotaSessionsDocument {
    let (scope, key_id, key_name) = whose(account, key);
    QuotaSessionsDocument { scope, key_id, key_name, limit, current: now.map(|now| now.current) }
}

fn whose(account: AccountId, key: OfKey) -> (QuotaScopeName, Option<i64>, Option<String>) {
    match (key, account) {
        (Some((id, name)), _) => (QuotaScopeName::Key, Some(id.0), Some(name)),
        (None, AccountId::User(_)) => (QuotaScopeName::User, None, None),
        (None, AccountId::Provider(_)) => (QuotaScopeName::Provider, None, None),
    }
}

impl From<Kind> for QuotaWindowName {
    fn from(kind: Kind) -> Self {
        match kind {
            Kind::FiveHours => Self::FiveHours,
            Kind::Daily => Self::Daily,
            Kind::Weekly => Self::Weekly,
            Kind::Monthly => Self::Monthly,
            Kind::Total => Self::Total,
        }
    }
}

fn place(account: AccountId) -> (QuotaKindName, i64) {
    match account {
        AccountId::User(id) => (QuotaKindName::User, id.0),
        AccountId::Provider(id) => (QuotaKindName::Provider, id.0),
    }
}

fn account((kind, id): (QuotaKindName, i64)) -> AccountId {
    match kind {
        QuotaKindName::User => AccountId::User(UserId(id)),
        QuotaKindName::Provider => AccountId::Provider(ProviderId(id)),
    }
}

/// Which budgets.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct QuotaList {
    /// Of users alone, or of providers.
    #[param(inline)]
    kind: Option<QuotaKindName>,
    /// This user's.
    user_id: Option<i64>,
    /// This provider's.
    provider_id: Option<i64>,
    /// Items a page, 1 to 200. Default: 50.
    limit: Option<u64>,
    /// `next_cursor` of the page before.
    cursor: Option<String>,
}

/// Lists how the budgets of users (with their keys) and providers stand now that have any limit: users by id, then providers by
/// id. 503 `quotas_unavailable` while the gateways' budgets cannot be reached.
#[utoipa::path(
    tag = "quotas",
    params(QuotaList),
    responses((status = 200, body = Page<QuotaDocument>))
)]
#[get("/api/v1/quotas")]
pub async fn list_quotas(
    admin: Data<Admin>,
    _actor: Actor,
    params: Params<QuotaList>,
) -> Result<Json<Page<QuotaDocument>>, Error> {
    let params = params.0;
    let wanted = Wanted {
        kind: params.kind.map(|kind| match kind {
            QuotaKindName::User => AccountKind::User,
            QuotaKindName::Provider => AccountKind::Provider,
        }),
        user: params.user_id.map(UserId),
        provider: params.provider_id.map(ProviderId),
        after: decode_cursor::<(QuotaKindName, i64)>(params.cursor.as_deref())?.map(account),
        limit: page_limit(params.limit)?,
    };
    let page = admin.run(move |admin| list(admin, wanted)).await?;
    let next_cursor = page.next.map(|account| encode_cursor(&place(account)));
    Ok(Json(Page { items: page.items.into_iter().map(QuotaDocument::from).collect(), next_cursor }))
}
