//! Providers: one upstream account each (base URL, secret, type).

use super::client::ClientPattern;
use super::group::GroupSet;
use super::limits::Limits;
use super::rules::{ModelRule, Redirect};
use super::schedule::ActiveTime;
use crate::contract::breaker::Terms;
use crate::ids::ProviderId;
use crate::money::Multiplier;
use crate::protocol::Dialect;
use crate::secret::Sealed;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// One upstream account.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Provider {
    /// Row id.
    pub id: ProviderId,
    /// Display name; never shown to a seat.
    pub name: String,
    /// Which API it speaks and how it authenticates.
    pub provider_type: ProviderType,
    /// Base URL, `http` or `https`.
    pub url: String,
    /// The account's secret, sealed at [`Provider::secret_place`].
    pub secret: Sealed,
    /// A disabled provider is never used.
    pub is_enabled: bool,
    /// Share of the draw among equals; 0 = never drawn, only reused by a running session.
    pub weight: u32,
    /// Tier: the lowest number with a usable provider serves.
    pub priority: u32,
    /// The tier for callers of a group, in the place of `priority`: the lowest of those that are there for the groups
    /// that the caller names and the provider carries. `*` names none.
    #[serde(default)]
    pub group_priorities: BTreeMap<String, u32>,
    /// When it is used, by the clock of [`super::Settings::timezone`]; `None`: always.
    #[serde(default)]
    pub active_time: Option<ActiveTime>,
    /// The groups this provider belongs to.
    pub group_tag: GroupSet,
    /// Factor on the price of what it serves.
    pub cost_multiplier: Multiplier,
    /// Models it serves, matched on the requested name; empty = all.
    pub allowed_models: Vec<ModelRule>,
    /// Clients it serves; empty = all.
    #[serde(default)]
    pub allowed_clients: Vec<ClientPattern>,
    /// Clients it does not serve, whatever is allowed.
    #[serde(default)]
    pub blocked_clients: Vec<ClientPattern>,
    /// Ordered renames of the requested model; the first match applies.
    pub model_redirects: Vec<Redirect>,
    /// Tries at this provider before the next one, 1 to 10.
    pub max_attempts: u32,
    /// Headers added to each request, in order; never authentication or framing. Each value is sealed at
    /// [`Provider::header_place`]: people put a relay's second token there.
    pub custom_headers: Vec<(String, Sealed)>,
    /// What happens to a stream whose client left.
    pub client_abort: ClientAbort,
    /// How long to wait, and for what.
    pub timers: Timers,
    /// When it is not asked any more, and how it comes back.
    #[serde(default)]
    pub circuit_breaker: BreakerSettings,
    /// How connections to it are made.
    #[serde(default)]
    pub egress: EgressSettings,
    /// What may be spent at it, over all callers.
    #[serde(default)]
    pub limits: Limits,
    /// As [`super::User::budget_generation`], of its own limits.
    #[serde(default)]
    pub budget_generation: u32,
}

impl Provider {
    /// What its breaker and cool-downs are judged under.
    #[must_use]
    pub fn circuit_terms(&self) -> Terms {
        let BreakerSettings { failure_threshold, open_duration_ms, half_open_success_threshold } =
            self.circuit_breaker;
        let mut account =
            vec![self.provider_type.as_str().as_bytes(), self.url.as_bytes(), self.secret.0.as_bytes()];
        // Another way there, another story. Not the fallback: it changes nothing of what was tried.
        let EgressSettings { proxy_url, proxy_password, ca_certificate, .. } = &self.egress;
        if let Some(url) = proxy_url {
            account.extend([&b"proxy"[..], url.as_bytes()]);
            account.extend(proxy_password.as_ref().map(|sealed| sealed.0.as_bytes()));
        }
        if let Some(pem) = ca_certificate {
            account.extend([&b"ca"[..], pem.as_bytes()]);
        }
        let account = Terms::account_of(&account);
        Terms { failure_threshold, open_duration_ms, half_open_success_threshold, account }
    }

    /// Where the provider's secret is sealed: the `aad` of its envelope.
    #[must_use]
    pub fn secret_place(id: ProviderId) -> String {
        format!("provider:{id}:key")
    }

    /// Where the password of its proxy is sealed.
    #[must_use]
    pub fn proxy_place(id: ProviderId) -> String {
        format!("provider:{id}:proxy")
    }

    /// Where the value of a custom header is sealed. Header names have no case.
    #[must_use]
    pub fn header_place(id: ProviderId, name: &str) -> String {
        format!("provider:{id}:header:{}", name.to_ascii_lowercase())
    }
}

/// How connections to a provider are made.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct EgressSettings {
    /// The proxy, without its password: a [`ProxyUrl`](crate::rules::upstream::ProxyUrl). `None`: directly.
    pub proxy_url: Option<String>,
    /// The password that goes with the user name in it, sealed at [`Provider::proxy_place`].
    pub proxy_password: Option<Sealed>,
    /// An attempt whose proxy fails goes on directly.
    pub proxy_fallback_to_direct: bool,
    /// Certificates of authorities, as PEM, that are believed besides the usual ones: by the provider and by its proxy.
    pub ca_certificate: Option<String>,
}

/// When a provider is not asked any more, and how it comes back.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct BreakerSettings {
    /// Failures in a row that open the breaker; 0 = it never opens.
    pub failure_threshold: u32,
    /// Milliseconds that it stays open.
    pub open_duration_ms: u64,
    /// Probes that must succeed, one after the other, to close it.
    pub half_open_success_threshold: u32,
}

impl Default for BreakerSettings {
    /// Design §5: 5 failures, 30 minutes, 2 successes.
    fn default() -> Self {
        Self { failure_threshold: 5, open_duration_ms: 1_800_000, half_open_success_threshold: 2 }
    }
}

/// Which API a provider speaks and how it authenticates.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ProviderType {
    /// Anthropic's API: `x-api-key` and `Authorization: Bearer`.
    Claude,
    /// A relay of Anthropic's API that wants `Authorization: Bearer` alone.
    ClaudeAuth,
    /// OpenAI's Responses API.
    Codex,
    /// OpenAI's chat completions API and whoever copies it.
    OpenaiCompatible,
    /// Google's Gemini API: `x-goog-api-key`.
    Gemini,
}

impl ProviderType {
    /// All types, in the order they are listed to people.
    pub const ALL: [Self; 5] =
        [Self::Claude, Self::ClaudeAuth, Self::Codex, Self::OpenaiCompatible, Self::Gemini];

    /// The name used in JSON, SQL and metrics.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Claude => "claude",
            Self::ClaudeAuth => "claude-auth",
            Self::Codex => "codex",
            Self::OpenaiCompatible => "openai-compatible",
            Self::Gemini => "gemini",
        }
    }

    /// The type with this name.
    #[must_use]
    pub fn parse(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|t| t.as_str() == name)
    }

    /// The dialect its API speaks.
    #[must_use]
    pub fn dialect(self) -> Dialect {
        match self {
            Self::Claude | Self::ClaudeAuth => Dialect::Anthropic,
            Self::Codex => Dialect::OpenaiResponses,
            Self::OpenaiCompatible => Dialect::OpenaiChat,
            Self::Gemini => Dialect::Gemini,
        }
    }
}

/// What happens to a stream whose client left.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ClientAbort {
    /// Read on for up to 60 s to learn the usage.
    #[default]
    Drain,
    /// Close the upstream at once; what was relayed is booked as an estimate.
    Cancel,
}

impl ClientAbort {
    /// The name used in JSON and SQL.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Drain => "drain",
            Self::Cancel => "cancel",
        }
    }
}

/// How long to wait for a provider. 0 = no limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Timers {
    /// Streaming: until the response head has arrived, in milliseconds.
    pub first_byte_timeout_streaming_ms: u64,
    /// Streaming: between two signs of progress (not pings), in milliseconds.
    pub streaming_idle_timeout_ms: u64,
    /// Not streaming: until the whole body has arrived, in milliseconds.
    pub request_timeout_non_streaming_ms: u64,
}

impl Default for Timers {
    /// Design §5: head 120 s, progress 300 s, whole non-stream 600 s.
    fn default() -> Self {
        Self {
            first_byte_timeout_streaming_ms: 120_000,
            streaming_idle_timeout_ms: 300_000,
            request_timeout_non_streaming_ms: 600_000,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_type_has_one_name_everywhere() {
        for t in ProviderType::ALL {
            assert_eq!(serde_json::to_string(&t).unwrap(), format!("\"{}\"", t.as_str()));
            assert_eq!(ProviderType::parse(t.as_str()), Some(t));
        }
        assert_eq!(ProviderType::parse("vertex"), None);
    }

    #[test]
    fn another_way_to_a_provider_is_another_account_of_its_breaker_and_a_fallback_is_not() {
        let plain = crate::testing::provider(1);
        let mut seen = vec![plain.circuit_terms()];
        let mut provider = plain.clone();
        let changes: [fn(&mut EgressSettings); 4] = [
            |egress| egress.proxy_url = Some("http://u@h:1".to_owned()),
            |egress| egress.proxy_password = Some(Sealed("v1.x.y".to_owned())),
            |egress| egress.ca_certificate = Some("PEM".to_owned()),
            |egress| egress.proxy_url = None,
        ];
        for change in changes {
            change(&mut provider.egress);
            let terms = provider.circuit_terms();
            assert!(!seen.contains(&terms), "{:?}", provider.egress);
            seen.push(terms);
        }
        let fallback = EgressSettings { proxy_fallback_to_direct: true, ..EgressSettings::default() };
        assert_eq!(Provider { egress: fallback, ..plain }.circuit_terms(), seen[0]);
    }
}
