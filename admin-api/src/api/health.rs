//! `/api/v1/health`: for load balancers and orchestrators; needs no credential and shows nothing of the
//! installation but whether it works.

use crate::service::Admin;
use crate::service::health::Health;
use actix_web::web::{Data, Json};
use actix_web::{HttpResponse, get};
use serde::Serialize;
use utoipa::ToSchema;

/// Whether the process lives.
#[derive(Debug, Serialize, ToSchema)]
pub struct Live {
    /// Always `ok`.
    status: &'static str,
}

/// Whether the process can do its work.
#[derive(Debug, Serialize, ToSchema)]
pub struct Ready {
    status: Readiness,
    /// True when the database answers.
    database: bool,
    /// True when the newest configuration is published.
    published: bool,
}

/// How ready.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Readiness {
    /// Everything works.
    Ok,
    /// Answers, but changes are not published right now.
    Degraded,
    /// The database is away.
    Unavailable,
}

/// Answers as long as the process lives.
#[utoipa::path(tag = "health", security(()), responses((status = 200, body = Live)))]
#[get("/api/v1/health/live")]
pub async fn health_live() -> Json<Live> {
    Json(Live { status: "ok" })
}

/// 200 while the database answers (`degraded` while changes cannot be published), else 503.
#[utoipa::path(
    tag = "health",
    security(()),
    responses((status = 200, body = Ready), (status = 503, body = Ready))
)]
#[get("/api/v1/health/ready")]
pub async fn health_ready(admin: Data<Admin>) -> HttpResponse {
    let health = Health::of(&admin).await;
    let (database, published) = (health.newest.is_some(), health.is_published());
    let status = match (database, published) {
        (false, _) => Readiness::Unavailable,
        (true, false) => Readiness::Degraded,
        (true, true) => Readiness::Ok,
    };
    let body = Ready { status, database, published };
    match status {
        Readiness::Ok | Readiness::Degraded => HttpResponse::Ok().json(body),
        Readiness::Unavailable => HttpResponse::ServiceUnavailable().json(body),
    }
}
