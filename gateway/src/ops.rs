//! The operators' door: `/live`, `/ready`, `/metrics`. On its own listener, never the seats'.

use crate::hub::Hub;
use crate::ready::Readiness;
use crate::telemetry;
use async_trait::async_trait;
use http::{Response, StatusCode};
use pingora::apps::http_app::ServeHttp;
use pingora::protocols::http::ServerSession;
use shared::ports::MetricsPart;
use std::sync::Arc;
use tokio::sync::watch;

/// The application behind the operators' listener.
pub struct Ops {
    hub: Arc<Hub>,
    is_draining: watch::Receiver<bool>,
    metrics_parts: Vec<Arc<dyn MetricsPart>>,
}

impl Ops {
    /// Reports on these shared parts.
    #[must_use]
    pub fn new(
        hub: Arc<Hub>,
        is_draining: watch::Receiver<bool>,
        metrics_parts: Vec<Arc<dyn MetricsPart>>,
    ) -> Self {
        Self { hub, is_draining, metrics_parts }
    }

    async fn metrics(&self) -> String {
        let mut text = telemetry::render(&self.hub);
        for part in &self.metrics_parts {
            text.push_str(&part.text().await);
        }
        text
    }

    fn readiness(&self) -> (StatusCode, &'static str) {
        let readiness = Readiness::of(&self.hub, *self.is_draining.borrow());
        let status = match readiness {
            Readiness::Ready => StatusCode::OK,
            Readiness::Draining | Readiness::Unusable(_) => StatusCode::SERVICE_UNAVAILABLE,
        };
        (status, readiness.text())
    }
}

#[async_trait]
impl ServeHttp for Ops {
    async fn response(&self, session: &mut ServerSession) -> Response<Vec<u8>> {
        let (status, body) = match session.req_header().uri.path() {
            "/live" => (StatusCode::OK, "live\n".to_owned()),
            "/ready" => {
                let (status, text) = self.readiness();
                (status, text.to_owned())
            }
            "/metrics" => (StatusCode::OK, self.metrics().await),
            _ => (StatusCode::NOT_FOUND, "/live, /ready and /metrics are here\n".to_owned()),
        };
        let mut response = Response::new(body.into_bytes());
        *response.status_mut() = status;
        let length = response.body().len();
        let headers = response.headers_mut();
        headers.insert("content-type", http::HeaderValue::from_static(TEXT));
        headers.insert("content-length", http::HeaderValue::from(length));
        response
    }
}

/// Prometheus' text format.
const TEXT: &str = "text/plain; version=0.0.4; charset=utf-8";
