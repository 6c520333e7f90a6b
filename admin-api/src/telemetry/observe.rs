//! Counts what the API answers.

use super::Metrics;
use crate::error::Error;
use actix_web::body::MessageBody;
use actix_web::dev::{ServiceRequest, ServiceResponse};
use actix_web::middleware::Next;
use actix_web::web::Data;
use std::time::Instant;

/// Counts an answer under its route's template. Outside of everything else: also who is not let in is answered.
pub async fn observe(
    metrics: Data<Metrics>,
    request: ServiceRequest,
    next: Next<impl MessageBody>,
) -> Result<ServiceResponse<impl MessageBody>, actix_web::Error> {
    let began = Instant::now();
    let method = request.method().clone();
    let route = request.match_pattern();
    let answered = next.call(request).await;
    let status = match &answered {
        Ok(answer) => answer.status(),
        Err(error) => error.as_response_error().status_code(),
    };
    let route = route.as_deref().unwrap_or(NO_ROUTE);
    metrics.count_request(&method, route, status, began.elapsed());
    let error = match &answered {
        Ok(answer) => answer.response().error(),
        Err(error) => Some(error),
    };
    if let Some(error) = error.and_then(|error| error.as_error::<Error>()) {
        metrics.count_refusal(error.code());
    }
    answered
}

/// What stands for the route of a path that has none.
const NO_ROUTE: &str = "none";
