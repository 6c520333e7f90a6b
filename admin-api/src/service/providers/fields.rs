//! What can be set of a provider: what is valid, what the audit log says of it, and the columns it is kept in.

use super::super::Stored;
use super::super::check::{Star, Violations};
use super::super::limits;
use super::super::vault::Vault;
use super::{CustomHeaders, EgressFields, Provider};
use crate::error::{Error, Resource};
use crate::repo::entity::providers::{ActiveModel, Model};
use crate::repo::limits::{Limited, SetLimits};
use sea_orm::ActiveValue::Set;
use serde_json::{Value, json};
use shared::ids::{ProviderId, Revision};
use shared::model::schedule::ActiveTimeError;
use shared::model::{
    ActiveTime, BreakerSettings, ClientAbort, ClientPattern, EgressSettings, GroupSet, Limits, ModelRule,
    ProviderType, Redirect, Timers,
};
use shared::money::Multiplier;
use shared::rules::upstream::BaseUrl;
use shared::secret::Sealed;
use shared::time::UnixMillis;
use std::collections::BTreeMap;
use std::ops::RangeInclusive;

/// What an admin can set of a provider, but for its secret.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProviderFields {
    /// Display name; never shown to a seat.
    pub name: String,
    /// Which API it speaks and how it authenticates.
    pub provider_type: ProviderType,
    /// Base URL.
    pub url: String,
    /// A disabled provider is never used.
    pub is_enabled: bool,
    /// Share of the draw among equals, 0 to 100; 0 = never drawn.
    pub weight: u32,
    /// Tier: the lowest number with a usable provider serves.
    pub priority: u32,
    /// The tier for callers of a group that it belongs to.
    pub group_priorities: BTreeMap<String, u32>,
    /// When it is used, `HH:MM` by the clock of the configured zone: from here on.
    pub active_time_start: Option<String>,
    /// Until here. Neither: always.
    pub active_time_end: Option<String>,
    /// The groups it belongs to.
    pub group_tag: GroupSet,
    /// Factor on the price of what it serves.
    pub cost_multiplier: Multiplier,
    /// Models it serves; empty = all.
    pub allowed_models: Vec<ModelRule>,
    /// Clients it serves; empty = all.
    pub allowed_clients: Vec<ClientPattern>,
    /// Clients that are refused, whatever is allowed.
    pub blocked_clients: Vec<ClientPattern>,
    /// Ordered renames of the requested model.
    pub model_redirects: Vec<Redirect>,
    /// Tries at this provider before the next one, 1 to 10.
    pub max_attempts: u32,
    /// Headers added to each request.
    pub custom_headers: CustomHeaders,
    /// What happens to a stream whose client left.
    pub client_abort: ClientAbort,
    /// How long to wait, in milliseconds; 0 = no limit.
    pub timers: Timers,
    /// When it is not asked any more, and how it comes back.
    pub circuit_breaker: BreakerSettings,
    /// How connections to it are made.
    pub egress: EgressFields,
    /// What may be spent at it and asked of it. Its markers are set by resets alone.
    pub limits: Limits,
}

impl ProviderFields {
    /// A provider with everything else as it is when not given.
    #[must_use]
    pub fn new(name: impl Into<String>, provider_type: ProviderType, url: impl Into<String>) -> Self {
        Self {
            name: name.into(),
            provider_type,
            url: url.into(),
            is_enabled: true,
            weight: 1,
            priority: 0,
            group_priorities: BTreeMap::new(),
            active_time_start: None,
            active_time_end: None,
            group_tag: GroupSet::default(),
            cost_multiplier: Multiplier::ONE,
            allowed_models: Vec::new(),
            allowed_clients: Vec::new(),
            blocked_clients: Vec::new(),
            model_redirects: Vec::new(),
            max_attempts: 2,
            custom_headers: CustomHeaders::default(),
            client_abort: ClientAbort::default(),
            timers: Timers::default(),
            circuit_breaker: BreakerSettings::default(),
            egress: EgressFields::default(),
            limits: Limits::default(),
        }
    }

    pub(super) fn check(&self, v: &mut Violations) {
        v.name("name", &self.name);
        check_url(v, &self.url);
        v.number("weight", &self.weight, &(0..=100));
        v.number("priority", &self.priority, &PRIORITIES);
        if let Err((field, message)) = self.active_time() {
            v.require(false, field, &message);
        }
        v.groups("group_tag", &self.group_tag, Star::Refused);
        for (name, priority) in &self.group_priorities {
            let field = format!("group_priorities.{name}");
            v.number(&field, priority, &PRIORITIES);
            v.require(
                self.group_tag.names().any(|tag| tag == name),
                &field,
                "must be one of the groups in group_tag",
            );
        }
        v.require(self.allowed_models.len() <= 200, "allowed_models", "must have at most 200 rules");
        v.clients("allowed_clients", &self.allowed_clients);
        v.clients("blocked_clients", &self.blocked_clients);
        v.require(self.model_redirects.len() <= 200, "model_redirects", "must have at most 200 rules");
        v.number("max_attempts", &self.max_attempts, &(1..=10));
        self.custom_headers.check(v);
        self.egress.check(v);
        limits::check(&self.limits, v);
        for (field, ms) in [
            ("first_byte_timeout_streaming_ms", self.timers.first_byte_timeout_streaming_ms),
            ("streaming_idle_timeout_ms", self.timers.streaming_idle_timeout_ms),
            ("request_timeout_non_streaming_ms", self.timers.request_timeout_non_streaming_ms),
        ] {
            let is_fine = ms == 0 || (100..=3_600_000).contains(&ms);
            v.require(is_fine, field, "must be 0 (no limit) or 100 to 3600000");
        }
        let breaker = &self.circuit_breaker;
        v.number("circuit_breaker_failure_threshold", &breaker.failure_threshold, &(0..=1_000));
        v.number("circuit_breaker_open_duration_ms", &breaker.open_duration_ms, &(1_000..=86_400_000));
        v.number(
            "circuit_breaker_half_open_success_threshold",
            &breaker.half_open_success_threshold,
            &(1..=100),
        );
    }

    /// When it is used; `None`: always. An error names the field.
    pub(super) fn active_time(&self) -> Result<Option<ActiveTime>, (&'static str, String)> {
        let (start, end) = match (&self.active_time_start, &self.active_time_end) {
            (Some(start), Some(end)) => (start, end),
            (None, None) => return Ok(None),
            (Some(_), None) => return Err(("active_time_end", BOTH_OR_NONE.to_owned())),
            (None, Some(_)) => return Err(("active_time_start", BOTH_OR_NONE.to_owned())),
        };
        ActiveTime::parse(start, end).map(Some).map_err(|error| {
            let field = match error {
                ActiveTimeError::BadStart => "active_time_start",
                ActiveTimeError::BadEnd | ActiveTimeError::Empty => "active_time_end",
            };
            (field, error.to_string())
        })
    }

    /// Where requests go.
    pub(super) fn audited_way(&self) -> Value {
        json!({
            "url": self.url,
            "proxy_url": self.egress.audited_proxy(),
            "proxy_fallback_to_direct": self.egress.proxy_fallback_to_direct,
            "ca_certificate": self.egress.ca_certificate,
        })
    }

    pub(super) fn audited(&self) -> Value {
        let mut audited = json!({
            "name": self.name,
            "provider_type": self.provider_type,
            "url": self.url,
            "is_enabled": self.is_enabled,
            "weight": self.weight,
            "priority": self.priority,
            "group_priorities": self.group_priorities,
            "active_time_start": self.active_time_start,
            "active_time_end": self.active_time_end,
            "group_tag": self.group_tag,
            "cost_multiplier": self.cost_multiplier.to_decimal(),
            "allowed_models": self.allowed_models,
            "allowed_clients": self.allowed_clients,
            "blocked_clients": self.blocked_clients,
            "model_redirects": self.model_redirects,
            "max_attempts": self.max_attempts,
            "custom_headers": self.custom_headers.audited(),
            "client_abort": self.client_abort,
            "first_byte_timeout_streaming_ms": self.timers.first_byte_timeout_streaming_ms,
            "streaming_idle_timeout_ms": self.timers.streaming_idle_timeout_ms,
            "request_timeout_non_streaming_ms": self.timers.request_timeout_non_streaming_ms,
            "circuit_breaker_failure_threshold": self.circuit_breaker.failure_threshold,
            "circuit_breaker_open_duration_ms": self.circuit_breaker.open_duration_ms,
            "circuit_breaker_half_open_success_threshold": self.circuit_breaker.half_open_success_threshold,
            "proxy_url": self.egress.audited_proxy(),
            "proxy_fallback_to_direct": self.egress.proxy_fallback_to_direct,
            "ca_certificate": self.egress.ca_certificate,
        });
        limits::note(&self.limits, &mut audited);
        audited
    }
}

/// A row as its fields.
pub(super) fn stored(row: &Model) -> Result<Provider, Error> {
    let corrupt = |column| Error::Corrupt { resource: Resource::Provider, id: row.id.to_string(), column };
    let fields = ProviderFields {
        name: row.name.clone(),
        provider_type: ProviderType::parse(&row.provider_type).ok_or_else(|| corrupt("provider_type"))?,
        url: row.url.clone(),
        is_enabled: row.is_enabled,
        weight: row.weight.cast_unsigned(),
        priority: row.priority.cast_unsigned(),
        group_priorities: serde_json::from_str(&row.group_priorities)
            .map_err(|_| corrupt("group_priorities"))?,
        active_time_start: row.active_time_start.clone(),
        active_time_end: row.active_time_end.clone(),
        group_tag: GroupSet::parse(&row.group_tag),
        cost_multiplier: Multiplier(row.cost_multiplier.cast_unsigned()),
        allowed_models: serde_json::from_str(&row.allowed_models).map_err(|_| corrupt("allowed_models"))?,
        allowed_clients: serde_json::from_str(&row.allowed_clients)
            .map_err(|_| corrupt("allowed_clients"))?,
        blocked_clients: serde_json::from_str(&row.blocked_clients)
            .map_err(|_| corrupt("blocked_clients"))?,
        model_redirects: serde_json::from_str(&row.model_redirects)
            .map_err(|_| corrupt("model_redirects"))?,
        max_attempts: row.max_attempts.cast_unsigned(),
        custom_headers: CustomHeaders::stored(&row.custom_headers)
            .ok_or_else(|| corrupt("custom_headers"))?,
        client_abort: client_abort(&row.client_abort).ok_or_else(|| corrupt("client_abort"))?,
        timers: Timers {
            first_byte_timeout_streaming_ms: row.first_byte_timeout_streaming_ms.cast_unsigned(),
            streaming_idle_timeout_ms: row.streaming_idle_timeout_ms.cast_unsigned(),
            request_timeout_non_streaming_ms: row.request_timeout_non_streaming_ms.cast_unsigned(),
        },
        circuit_breaker: BreakerSettings {
            failure_threshold: row.circuit_breaker_failure_threshold.cast_unsigned(),
            open_duration_ms: row.circuit_breaker_open_duration_ms.cast_unsigned(),
            half_open_success_threshold: row.circuit_breaker_half_open_success_threshold.cast_unsigned(),
        },
        egress: EgressFields::stored(egress_settings(row)).ok_or_else(|| corrupt("proxy_url"))?,
        limits: limits::stored(row.limit_columns()).map_err(corrupt)?,
    };
    Ok(Stored {
        id: row.id,
        fields,
        revision: Revision(row.revision.cast_unsigned()),
        created_at: UnixMillis(row.created_at_ms),
        updated_at: UnixMillis(row.updated_at_ms),
    })
}

/// All but what is sealed.
pub(super) fn columns(fields: &ProviderFields) -> ActiveModel {
    let mut row = ActiveModel {
        name: Set(fields.name.clone()),
        provider_type: Set(fields.provider_type.as_str().to_owned()),
        url: Set(fields.url.clone()),
        is_enabled: Set(fields.is_enabled),
        weight: Set(fields.weight.cast_signed()),
        priority: Set(fields.priority.cast_signed()),
        group_priorities: Set(json!(fields.group_priorities).to_string()),
        active_time_start: Set(fields.active_time_start.clone()),
        active_time_end: Set(fields.active_time_end.clone()),
        group_tag: Set(fields.group_tag.to_string()),
        cost_multiplier: Set(fields.cost_multiplier.0.cast_signed()),
        allowed_models: Set(json!(fields.allowed_models).to_string()),
        allowed_clients: Set(json!(fields.allowed_clients).to_string()),
        blocked_clients: Set(json!(fields.blocked_clients).to_string()),
        model_redirects: Set(json!(fields.model_redirects).to_string()),
        max_attempts: Set(fields.max_attempts.cast_signed()),
        client_abort: Set(fields.client_abort.as_str().to_owned()),
        first_byte_timeout_streaming_ms: Set(fields.timers.first_byte_timeout_streaming_ms.cast_signed()),
        streaming_idle_timeout_ms: Set(fields.timers.streaming_idle_timeout_ms.cast_signed()),
        request_timeout_non_streaming_ms: Set(fields.timers.request_timeout_non_streaming_ms.cast_signed()),
        circuit_breaker_failure_threshold: Set(fields.circuit_breaker.failure_threshold.cast_signed()),
        circuit_breaker_open_duration_ms: Set(fields.circuit_breaker.open_duration_ms.cast_signed()),
        circuit_breaker_half_open_success_threshold: Set(fields
            .circuit_breaker
            .half_open_success_threshold
            .cast_signed()),
        ..Default::default()
    };
    row.set_limit_columns(limits::columns(&fields.limits));
    row
}

/// How connections are made, as it is published.
pub(super) fn egress_settings(row: &Model) -> EgressSettings {
    EgressSettings {
        proxy_url: row.proxy_url.clone(),
        proxy_password: row.sealed_proxy_password.clone().map(Sealed),
        proxy_fallback_to_direct: row.proxy_fallback_to_direct,
        ca_certificate: row.ca_certificate.clone(),
    }
}

/// Puts into the row what is sealed for this provider.
pub(super) fn seal_into(
    row: &mut ActiveModel,
    fields: &ProviderFields,
    vault: &Vault,
    id: ProviderId,
) -> Result<(), Error> {
    row.custom_headers = Set(fields.custom_headers.sealed(vault, id)?);
    let egress = fields.egress.sealed(vault, id)?;
    row.proxy_url = Set(egress.proxy_url);
    row.sealed_proxy_password = Set(egress.proxy_password.map(|sealed| sealed.0));
    row.proxy_fallback_to_direct = Set(egress.proxy_fallback_to_direct);
    row.ca_certificate = Set(egress.ca_certificate);
    Ok(())
}

fn client_abort(name: &str) -> Option<ClientAbort> {
    [ClientAbort::Drain, ClientAbort::Cancel].into_iter().find(|c| c.as_str() == name)
}

/// As the gateway reads it: it leaves a provider out whose URL it cannot use.
fn check_url(v: &mut Violations, text: &str) {
    v.text("url", text, 1..=255);
    if let Err(error) = BaseUrl::parse(text) {
        let text = error.to_string();
        v.require(false, "url", text.strip_prefix("base URL ").unwrap_or(&text));
    }
}

const PRIORITIES: RangeInclusive<u32> = 0..=1_000_000;
const BOTH_OR_NONE: &str = "must be there too, or neither of the two";
