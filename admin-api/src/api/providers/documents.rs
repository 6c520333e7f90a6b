//! A provider on the wire: to be made, to be changed, as it is shown.

use super::super::limits::{LimitsDocument, LimitsUpdate};
use super::super::rules::{
    ModelRuleDocument, RedirectDocument, client_patterns, client_texts, model_rules, redirect_document,
    redirects, rule_document,
};
use super::super::types::{
    ClientAbortName, Factor, Moment, Patch, ProviderTypeName, effective_groups, present, set,
};
use crate::error::Error;
use crate::extract::beside;
use crate::service::providers::{Provider, ProviderFields};
use serde::{Deserialize, Serialize};
use shared::model::{BreakerSettings, ClientAbort, GroupSet, ModelRule, Redirect, Timers};
use shared::money::Multiplier;
use shared::secret::Secret;
use std::collections::BTreeMap;
use utoipa::ToSchema;

/// A provider to be made.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct ProviderCreate {
    /// Display name, 1 to 64 characters; never shown to a seat.
    name: String,
    provider_type: ProviderTypeName,
    /// Base URL, http or https, without credentials and query.
    url: String,
    /// The account's secret; stored sealed, never shown again.
    #[schema(write_only)]
    key: String,
    /// A disabled provider is never used. Default: true.
    is_enabled: Option<bool>,
    /// Share of the draw among equals, 0 to 100; 0 = never drawn, only reused by a running session. Default: 1.
    weight: Option<u32>,
    /// Tier, 0 to 1000000: the lowest with a usable provider serves. Default: 0.
    priority: Option<u32>,
    /// By group of `group_tag`: the tier for callers of that group, in the place of `priority`; the lowest where a caller
    /// has several. A caller of `*` has the tiers of the groups it names beside it. Default: none.
    group_priorities: Option<BTreeMap<String, u32>>,
    /// From when on it is used each day, `HH:MM` by the clock of the settings' `timezone`. Later than the end: over
    /// midnight. Default, with the end: always.
    active_time_start: Option<String>,
    /// Until when, `HH:MM`; this minute is not in it.
    active_time_end: Option<String>,
    /// Groups it belongs to, separated by commas. Default: `default`.
    group_tag: Option<String>,
    /// Factor on the price of what it serves, 0 to 1000. Default: 1.
    cost_multiplier: Option<Factor>,
    /// Models it serves, matched on the requested name; empty = all.
    allowed_models: Option<Vec<ModelRuleDocument>>,
    /// Programs it serves, by `User-Agent`, written as a user's `allowed_clients`; empty = all.
    allowed_clients: Option<Vec<String>>,
    /// Programs it does not serve, whatever is allowed.
    blocked_clients: Option<Vec<String>>,
    /// Ordered renames of the requested model; the first match applies.
    model_redirects: Option<Vec<RedirectDocument>>,
    /// Tries at this provider before the next one, 1 to 10. Default: 2.
    max_attempts: Option<u32>,
    /// Headers added to each request; never authentication or framing. Values are stored sealed, never shown again.
    custom_headers: Option<BTreeMap<String, String>>,
    /// What happens to a stream whose client left. Default: `drain`.
    client_abort: Option<ClientAbortName>,
    /// Streaming: until the response head has arrived, in ms; 0 = no limit. Default: 120000.
    first_byte_timeout_streaming_ms: Option<u64>,
    /// Streaming: between two signs of progress, in ms; 0 = no limit. Default: 300000.
    streaming_idle_timeout_ms: Option<u64>,
    /// Not streaming: until the whole body has arrived, in ms; 0 = no limit. Default: 600000.
    request_timeout_non_streaming_ms: Option<u64>,
    /// Failures in a row that open its breaker, 0 to 1000; 0 = it never opens. Default: 5.
    circuit_breaker_failure_threshold: Option<u32>,
    /// How long it stays open, in ms, 1000 to 86400000. Default: 1800000.
    circuit_breaker_open_duration_ms: Option<u64>,
    /// Probes that must succeed, one after the other, to close it, 1 to 100. Default: 2.
    circuit_breaker_half_open_success_threshold: Option<u32>,
    /// The proxy that connections go through, `http://`, `https://`, `socks5://` or `socks5h://`, with
    /// `user:password@` where it wants that (stored sealed, shown as `***`). `socks5` looks names up here, the others
    /// at the proxy. Default: none, directly.
    proxy_url: Option<String>,
    /// A try whose proxy cannot open the way goes on directly. Default: false.
    proxy_fallback_to_direct: Option<bool>,
    /// Certificates of authorities, as PEM, that are believed besides the usual ones: by the provider and by an `https`
    /// proxy. Default: none.
    ca_certificate: Option<String>,
    #[serde(flatten, deserialize_with = "beside")]
    limits: LimitsUpdate,
}

impl ProviderCreate {
    pub(in crate::api) fn parse(self) -> Result<(ProviderFields, Secret), Error> {
        let key = Secret::new(self.key);
        let mut fields = ProviderFields::new(self.name, self.provider_type.into(), self.url);
        set(&mut fields.is_enabled, self.is_enabled);
        set(&mut fields.weight, self.weight);
        set(&mut fields.priority, self.priority);
        set(&mut fields.group_priorities, self.group_priorities);
        fields.active_time_start = self.active_time_start;
        fields.active_time_end = self.active_time_end;
        set(&mut fields.group_tag, self.group_tag.map(|text| GroupSet::parse(&text)));
        set(&mut fields.cost_multiplier, self.cost_multiplier.map(|f| f.0));
        fields.allowed_models = model_rules(self.allowed_models.unwrap_or_default())?;
        fields.allowed_clients = client_patterns(self.allowed_clients.unwrap_or_default());
        fields.blocked_clients = client_patterns(self.blocked_clients.unwrap_or_default());
        fields.model_redirects = redirects(self.model_redirects.unwrap_or_default())?;
        set(&mut fields.max_attempts, self.max_attempts);
        fields.custom_headers.replace(self.custom_headers.unwrap_or_default());
        set(&mut fields.client_abort, self.client_abort.map(ClientAbort::from));
        let timers = &mut fields.timers;
        set(&mut timers.first_byte_timeout_streaming_ms, self.first_byte_timeout_streaming_ms);
        set(&mut timers.streaming_idle_timeout_ms, self.streaming_idle_timeout_ms);
        set(&mut timers.request_timeout_non_streaming_ms, self.request_timeout_non_streaming_ms);
        let breaker = &mut fields.circuit_breaker;
        set(&mut breaker.failure_threshold, self.circuit_breaker_failure_threshold);
        set(&mut breaker.open_duration_ms, self.circuit_breaker_open_duration_ms);
        set(&mut breaker.half_open_success_threshold, self.circuit_breaker_half_open_success_threshold);
        fields.egress.set_proxy(self.proxy_url);
        set(&mut fields.egress.proxy_fallback_to_direct, self.proxy_fallback_to_direct);
        fields.egress.ca_certificate = self.ca_certificate;
        self.limits.apply(&mut fields.limits);
        Ok((fields, key))
    }
}

/// What changes of a provider: absent stays, null goes back to the default.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct ProviderUpdate {
    #[serde(default, deserialize_with = "present")]
    name: Option<String>,
    #[serde(default, deserialize_with = "present")]
    provider_type: Option<ProviderTypeName>,
    #[serde(default, deserialize_with = "present")]
    url: Option<String>,
    /// Replaces the account's secret; never shown.
    #[serde(default, deserialize_with = "present")]
    #[schema(write_only)]
    key: Option<String>,
    #[serde(default, deserialize_with = "present")]
    is_enabled: Option<bool>,
    #[serde(default)]
    #[schema(value_type = Option<u32>)]
    weight: Patch<u32>,
    #[serde(default)]
    #[schema(value_type = Option<u32>)]
    priority: Patch<u32>,
    /// Replaces all of them.
    #[serde(default)]
    #[schema(value_type = Option<BTreeMap<String, u32>>)]
    group_priorities: Patch<BTreeMap<String, u32>>,
    #[serde(default)]
    #[schema(value_type = Option<String>)]
    active_time_start: Patch<String>,
    #[serde(default)]
    #[schema(value_type = Option<String>)]
    active_time_end: Patch<String>,
    #[serde(default)]
    #[schema(value_type = Option<String>)]
    group_tag: Patch<String>,
    #[serde(default)]
    #[schema(value_type = Option<Factor>)]
    cost_multiplier: Patch<Factor>,
    #[serde(default)]
    #[schema(value_type = Option<Vec<ModelRuleDocument>>)]
    allowed_models: Patch<Vec<ModelRuleDocument>>,
    #[serde(default)]
    #[schema(value_type = Option<Vec<String>>)]
    allowed_clients: Patch<Vec<String>>,
    #[serde(default)]
    #[schema(value_type = Option<Vec<String>>)]
    blocked_clients: Patch<Vec<String>>,
    #[serde(default)]
    #[schema(value_type = Option<Vec<RedirectDocument>>)]
    model_redirects: Patch<Vec<RedirectDocument>>,
    #[serde(default)]
    #[schema(value_type = Option<u32>)]
    max_attempts: Patch<u32>,
    /// Replaces all headers; `***` as a value keeps the stored one.
    #[serde(default)]
    #[schema(value_type = Option<BTreeMap<String, String>>)]
    custom_headers: Patch<BTreeMap<String, String>>,
    #[serde(default)]
    #[schema(value_type = Option<ClientAbortName>)]
    client_abort: Patch<ClientAbortName>,
    #[serde(default)]
    #[schema(value_type = Option<u64>)]
    first_byte_timeout_streaming_ms: Patch<u64>,
    #[serde(default)]
    #[schema(value_type = Option<u64>)]
    streaming_idle_timeout_ms: Patch<u64>,
    #[serde(default)]
    #[schema(value_type = Option<u64>)]
    request_timeout_non_streaming_ms: Patch<u64>,
    #[serde(default)]
    #[schema(value_type = Option<u32>)]
    circuit_breaker_failure_threshold: Patch<u32>,
    #[serde(default)]
    #[schema(value_type = Option<u64>)]
    circuit_breaker_open_duration_ms: Patch<u64>,
    #[serde(default)]
    #[schema(value_type = Option<u32>)]
    circuit_breaker_half_open_success_threshold: Patch<u32>,
    /// Replaces the proxy; `***` as its password keeps the stored one of the same user name.
    #[serde(default)]
    #[schema(value_type = Option<String>)]
    proxy_url: Patch<String>,
    #[serde(default)]
    #[schema(value_type = Option<bool>)]
    proxy_fallback_to_direct: Patch<bool>,
    #[serde(default)]
    #[schema(value_type = Option<String>)]
    ca_certificate: Patch<String>,
    #[serde(flatten, deserialize_with = "beside")]
    limits: LimitsUpdate,
}

/// A parsed update: the new secret, and the change of the other fields.
pub(in crate::api) struct ProviderEdit {
    pub(in crate::api) key: Option<Secret>,
    allowed_models: Option<Vec<ModelRule>>,
    model_redirects: Option<Vec<Redirect>>,
    rest: ProviderUpdate,
}

impl ProviderUpdate {
    pub(in crate::api) fn parse(mut self) -> Result<ProviderEdit, Error> {
        let allowed_models = std::mem::take(&mut self.allowed_models).or_default(Vec::new());
        let model_redirects = std::mem::take(&mut self.model_redirects).or_default(Vec::new());
        Ok(ProviderEdit {
            key: self.key.take().map(Secret::new),
            allowed_models: allowed_models.map(model_rules).transpose()?,
            model_redirects: model_redirects.map(redirects).transpose()?,
            rest: self,
        })
    }
}

impl ProviderEdit {
    pub(in crate::api) fn apply(self, fields: &mut ProviderFields) {
        let (rest, usual) = (self.rest, Timers::default());
        set(&mut fields.name, rest.name);
        set(&mut fields.provider_type, rest.provider_type.map(Into::into));
        set(&mut fields.url, rest.url);
        set(&mut fields.is_enabled, rest.is_enabled);
        set(&mut fields.weight, rest.weight.or_default(1));
        set(&mut fields.priority, rest.priority.or_default(0));
        set(&mut fields.group_priorities, rest.group_priorities.or_default(BTreeMap::new()));
        set(&mut fields.active_time_start, rest.active_time_start.optional());
        set(&mut fields.active_time_end, rest.active_time_end.optional());
        let groups = rest.group_tag.or_default(String::new());
        set(&mut fields.group_tag, groups.map(|text| GroupSet::parse(&text)));
        set(
            &mut fields.cost_multiplier,
            rest.cost_multiplier.or_default(Factor(Multiplier::ONE)).map(|f| f.0),
        );
        set(&mut fields.allowed_models, self.allowed_models);
        let patterns = |patch: Patch<Vec<String>>| patch.or_default(Vec::new()).map(client_patterns);
        set(&mut fields.allowed_clients, patterns(rest.allowed_clients));
        set(&mut fields.blocked_clients, patterns(rest.blocked_clients));
        set(&mut fields.model_redirects, self.model_redirects);
        set(&mut fields.max_attempts, rest.max_attempts.or_default(2));
        if let Some(headers) = rest.custom_headers.or_default(BTreeMap::new()) {
            fields.custom_headers.replace(headers);
        }
        set(&mut fields.client_abort, rest.client_abort.or_default(ClientAbortName::Drain).map(Into::into));
        let timers = &mut fields.timers;
        set(
            &mut timers.first_byte_timeout_streaming_ms,
            rest.first_byte_timeout_streaming_ms.or_default(usual.first_byte_timeout_streaming_ms),
        );
        set(
            &mut timers.streaming_idle_timeout_ms,
            rest.streaming_idle_timeout_ms.or_default(usual.streaming_idle_timeout_ms),
        );
        set(
            &mut timers.request_timeout_non_streaming_ms,
            rest.request_timeout_non_streaming_ms.or_default(usual.request_timeout_non_streaming_ms),
        );
        let (breaker, usual) = (&mut fields.circuit_breaker, BreakerSettings::default());
        set(
            &mut breaker.failure_threshold,
            rest.circuit_breaker_failure_threshold.or_default(usual.failure_threshold),
        );
        set(
            &mut breaker.open_duration_ms,
            rest.circuit_breaker_open_duration_ms.or_default(usual.open_duration_ms),
        );
        set(
            &mut breaker.half_open_success_threshold,
            rest.circuit_breaker_half_open_success_threshold.or_default(usual.half_open_success_threshold),
        );
        if let Some(proxy) = rest.proxy_url.optional() {
            fields.egress.set_proxy(proxy);
        }
        let egress = &mut fields.egress;
        set(&mut egress.proxy_fallback_to_direct, rest.proxy_fallback_to_direct.or_default(false));
        set(&mut egress.ca_certificate, rest.ca_certificate.optional());
        rest.limits.apply(&mut fields.limits);
    }
}

/// A provider, without its secrets.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Provider)]
pub struct ProviderDocument {
    id: i64,
    name: String,
    provider_type: ProviderTypeName,
    url: String,
    is_enabled: bool,
    weight: u32,
    priority: u32,
    group_priorities: BTreeMap<String, u32>,
    active_time_start: Option<String>,
    active_time_end: Option<String>,
    group_tag: String,
    cost_multiplier: Factor,
    allowed_models: Vec<ModelRuleDocument>,
    allowed_clients: Vec<String>,
    blocked_clients: Vec<String>,
    model_redirects: Vec<RedirectDocument>,
    max_attempts: u32,
    /// By name; each value is shown as `***`.
    custom_headers: BTreeMap<String, String>,
    client_abort: ClientAbortName,
    first_byte_timeout_streaming_ms: u64,
    streaming_idle_timeout_ms: u64,
    request_timeout_non_streaming_ms: u64,
    circuit_breaker_failure_threshold: u32,
    circuit_breaker_open_duration_ms: u64,
    circuit_breaker_half_open_success_threshold: u32,
    /// Its password as `***`.
    proxy_url: Option<String>,
    proxy_fallback_to_direct: bool,
    ca_certificate: Option<String>,
    #[serde(flatten)]
    limits: LimitsDocument,
    /// The configuration revision of the last change; the `ETag`.
    revision: u64,
    created_at: Moment,
    updated_at: Moment,
}

impl From<Provider> for ProviderDocument {
    fn from(provider: Provider) -> Self {
        let fields = provider.fields;
        Self {
            id: provider.id,
            name: fields.name,
            provider_type: fields.provider_type.into(),
            url: fields.url,
            is_enabled: fields.is_enabled,
            weight: fields.weight,
            priority: fields.priority,
            group_priorities: fields.group_priorities,
            active_time_start: fields.active_time_start,
            active_time_end: fields.active_time_end,
            group_tag: effective_groups(&fields.group_tag),
            cost_multiplier: Factor(fields.cost_multiplier),
            allowed_clients: client_texts(&fields.allowed_clients),
            blocked_clients: client_texts(&fields.blocked_clients),
            allowed_models: fields.allowed_models.iter().map(rule_document).collect(),
            model_redirects: fields.model_redirects.iter().map(redirect_document).collect(),
            max_attempts: fields.max_attempts,
            custom_headers: fields.custom_headers.masked(),
            client_abort: fields.client_abort.into(),
            first_byte_timeout_streaming_ms: fields.timers.first_byte_timeout_streaming_ms,
            streaming_idle_timeout_ms: fields.timers.streaming_idle_timeout_ms,
            request_timeout_non_streaming_ms: fields.timers.request_timeout_non_streaming_ms,
            circuit_breaker_failure_threshold: fields.circuit_breaker.failure_threshold,
            circuit_breaker_open_duration_ms: fields.circuit_breaker.open_duration_ms,
            circuit_breaker_half_open_success_threshold: fields.circuit_breaker.half_open_success_threshold,
            proxy_url: fields.egress.shown_proxy(),
            proxy_fallback_to_direct: fields.egress.proxy_fallback_to_direct,
            ca_certificate: fields.egress.ca_certificate,
            limits: fields.limits.into(),
            revision: provider.revision.0,
            created_at: Moment(provider.created_at),
            updated_at: Moment(provider.updated_at),
        }
    }
}
