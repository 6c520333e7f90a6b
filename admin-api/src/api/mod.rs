//! The resources: a file each, with its documents (`…Create`, `…Update`, the answer) and its handlers.
//!
//! Documents are wire types only; they convert into and from what the services take. A handler parses, calls one
//! service, and answers.

pub mod audit;
pub mod circuits;
pub mod error_rule_test;
pub mod error_rules;
pub mod groups;
pub mod health;
pub mod in_flight;
pub mod keys;
pub mod limit_resets;
mod limits;
pub mod log_export;
pub mod logs;
pub mod me;
pub mod nodes;
pub mod prices;
pub mod provider_tests;
pub mod providers;
pub mod quotas;
pub mod routing;
mod rules;
pub mod sessions;
pub mod settings;
pub mod types;
pub mod users;
pub mod words;

use crate::service::Admin;
use actix_web::http::StatusCode;
use actix_web::http::header::{ETAG, LOCATION};
use actix_web::{HttpResponse, HttpResponseBuilder};
use serde::Serialize;
use shared::ids::Revision;

/// 200 with a resource; its tag goes into `If-Match` of a later change.
fn found<T: Serialize>(body: T, etag: Revision) -> HttpResponse {
    HttpResponse::Ok().insert_header((ETAG, tag(etag))).json(body)
}

/// 201 with the new resource, once its revision is published.
async fn created<T: Serialize>(
    admin: &Admin,
    revision: Option<Revision>,
    location: String,
    etag: Revision,
    body: T,
) -> HttpResponse {
    let mut answer = published(admin, StatusCode::CREATED, revision).await;
    answer.insert_header((LOCATION, location)).insert_header((ETAG, tag(etag))).json(body)
}

/// 200 with the changed resource, once its revision is published.
async fn changed<T: Serialize>(
    admin: &Admin,
    revision: Option<Revision>,
    etag: Revision,
    body: T,
) -> HttpResponse {
    let mut answer = published(admin, StatusCode::OK, revision).await;
    answer.insert_header((ETAG, tag(etag))).json(body)
}

/// 200 with what was done, once its revision is published.
async fn did<T: Serialize>(admin: &Admin, revision: Option<Revision>, body: T) -> HttpResponse {
    published(admin, StatusCode::OK, revision).await.json(body)
}

/// 204, once the revision is published.
async fn deleted(admin: &Admin, revision: Option<Revision>) -> HttpResponse {
    published(admin, StatusCode::NO_CONTENT, revision).await.finish()
}

/// Waits for the revision (design §9) and says in headers which one it is and whether it is in force.
async fn published(admin: &Admin, status: StatusCode, revision: Option<Revision>) -> HttpResponseBuilder {
    let mut answer = HttpResponse::build(status);
    if let Some(revision) = revision {
        let is_published = admin.is_published(revision).await;
        answer
            .insert_header(("x-config-revision", revision.0))
            .insert_header(("x-config-published", if is_published { "true" } else { "false" }));
    }
    answer
}

fn tag(revision: Revision) -> String {
    format!("\"{revision}\"")
}
