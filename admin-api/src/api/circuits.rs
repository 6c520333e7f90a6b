//! `/api/v1/providers/{id}/circuit`

use super::types::Moment;
use crate::error::Error;
use crate::service::circuits::{CircuitNow, read, reset};
use crate::service::{Actor, Admin};
use actix_web::web::{Data, Json, Path};
use actix_web::{get, post};
use serde::Serialize;
use shared::contract::breaker::{Circuit, Cooldown, Sample};
use shared::ids::ProviderId;
use utoipa::ToSchema;

/// A provider's breaker and cool-downs, and what they stand on.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Circuit)]
pub struct CircuitDocument {
    provider_id: i64,
    /// `closed`: traffic flows; `open`: none; `half_open`: one probe at a time.
    state: &'static str,
    /// While closed: failures in a row.
    failures: u32,
    /// While open: when a probe is due.
    open_until: Option<Moment>,
    /// While half open: probes that succeeded so far.
    successes: u32,
    /// While half open: the gateway whose probe is out.
    probing_node: Option<String>,
    /// What the last transition was made for: `failures`, `due`, `probed`, `probe_failed`, `recovered`, `reset`,
    /// `terms_changed`; null: there was none.
    cause: Option<&'static str>,
    changed_at: Option<Moment>,
    /// The last results that led here, the oldest first.
    evidence: Vec<Evidence>,
    /// Those that run.
    cooldowns: Vec<CooldownDocument>,
    /// By this clock.
    at: Moment,
}

/// How an attempt ended.
#[derive(Debug, Serialize, ToSchema)]
pub struct Evidence {
    at: Moment,
    /// Its request in the log; null: a probe of ours.
    request_id: Option<String>,
    /// The number of the attempt in the request; of a probe of ours, how many have found the provider well since its
    /// breaker tripped.
    attempt: u32,
    /// The requested model; null: unknown.
    model: Option<String>,
    /// The upstream's status; null: there was none.
    status: Option<u16>,
    /// As in the decision chain.
    result: String,
}

/// For how long a provider, or a model of it, is not asked.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Cooldown)]
pub struct CooldownDocument {
    /// `credential`, `rate_limit`, `model_missing`, or `overload`, which only comes last.
    kind: &'static str,
    /// The requested model; null: all.
    model: Option<String>,
    until: Moment,
    /// How often in a row.
    strikes: u32,
    evidence: Evidence,
}

impl From<CircuitNow> for CircuitDocument {
    fn from(CircuitNow { doc, at }: CircuitNow) -> Self {
        let (mut failures, mut successes, mut open_until, mut probing_node) = (0, 0, None, None);
        match &doc.circuit {
            Circuit::Closed { failures: count } => failures = *count,
            Circuit::Open { until } => open_until = Some(Moment(*until)),
            Circuit::HalfOpen { successes: count, permit } => {
                successes = *count;
                probing_node = permit.as_ref().map(|permit| permit.owner.clone());
            }
        }
        let running = doc.cooldowns.into_iter().filter(|cooldown| cooldown.is_running(at));
        Self {
            provider_id: doc.provider_id.0,
            state: doc.circuit.state(at).label(),
            failures,
            open_until,
            successes,
            probing_node,
            cause: doc.cause.map(|cause| cause.label()),
            changed_at: doc.changed_at.map(Moment),
            evidence: doc.samples.into_iter().map(Evidence::from).collect(),
            cooldowns: running.map(CooldownDocument::from).collect(),
            at: Moment(at),
        }
    }
}

impl From<Sample> for Evidence {
    fn from(sample: Sample) -> Self {
        Self {
            at: Moment(sample.at),
            request_id: sample.request_id.map(|id| id.to_string()),
            attempt: sample.attempt,
            model: sample.model,
            status: sample.status,
            result: sample.label,
        }
    }
}

impl From<Cooldown> for CooldownDocument {
    fn from(cooldown: Cooldown) -> Self {
        Self {
            kind: cooldown.kind.label(),
            model: cooldown.model,
            until: Moment(cooldown.until),
            strikes: cooldown.strikes,
            evidence: cooldown.sample.into(),
        }
    }
}

/// Shows how a provider's breaker and cool-downs stand, for all gateways. 503 while nobody can tell.
#[utoipa::path(tag = "providers", params(("id" = i64, Path)), responses((status = 200, body = CircuitDocument)))]
#[get("/api/v1/providers/{id}/circuit")]
pub async fn read_circuit(
    admin: Data<Admin>,
    _actor: Actor,
    id: Path<i64>,
) -> Result<Json<CircuitDocument>, Error> {
    admin.run(|admin| read(admin, ProviderId(*id))).await.map(|now| Json(now.into()))
}

/// Closes a provider's breaker and ends its cool-downs, on all gateways at once.
#[utoipa::path(tag = "providers", params(("id" = i64, Path)), responses((status = 200, body = CircuitDocument)))]
#[post("/api/v1/providers/{id}/circuit/reset")]
pub async fn reset_circuit(
    admin: Data<Admin>,
    actor: Actor,
    id: Path<i64>,
) -> Result<Json<CircuitDocument>, Error> {
    admin.run(|admin| reset(admin, actor, ProviderId(*id))).await.map(|now| Json(now.into()))
}
