//! System-wide settings that the hot path obeys.

use super::limits::QuotaReservation;
use crate::time::Zone;
use serde::{Deserialize, Serialize};

/// Settings of the whole installation. Each has a default, so an empty document is valid.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Settings {
    /// Whose name decides the price after a redirect.
    pub billing_model_source: BillingModelSource,
    /// Whose word counts for the priority service tier's price.
    pub tier_billing_source: TierSource,
    /// Whose clock schedules and windows go by.
    pub timezone: Zone,
    /// What is put aside for a request whose user says nothing else.
    pub quota_reservation: QuotaReservation,
    /// Whether warm-ups of Anthropic's clients are answered by the gateway: see [`crate::rules::warmup`].
    pub intercept_anthropic_warmup_requests: bool,
}

/// Which model name a redirected request is priced by. The other one is tried when it has no price.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum BillingModelSource {
    /// The model the seat asked for.
    #[default]
    Original,
    /// The model the provider was asked for.
    Redirected,
}

/// Whose `service_tier` decides the price.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum TierSource {
    /// What the request asked for.
    #[default]
    Requested,
    /// What the response says was given.
    Actual,
}
