//! Pingora's phases, mapped to the pipeline. Decides nothing.
//!
//! Design B of `reference/pingora.md`: `request_filter` does the whole exchange through our own connector and
//! returns `Ok(true)`. Pingora's native path cannot replay a body above 64 KiB, read a stream on after the
//! client left, or fail over on an error event.

use crate::hub::{Hub, Load, Running};
use crate::pipeline;
use async_trait::async_trait;
use pingora::prelude::{Error, ErrorType, HttpPeer, Result};
use pingora::proxy::{ProxyHttp, Session};
use std::sync::Arc;

/// The Pingora application.
pub struct Proxy {
    hub: Arc<Hub>,
}

impl Proxy {
    /// An application on shared parts.
    #[must_use]
    pub fn new(hub: Arc<Hub>) -> Self {
        Self { hub }
    }
}

#[async_trait]
impl ProxyHttp for Proxy {
    /// Counts the request as running until Pingora is done with its connection.
    type CTX = Running;

    fn new_ctx(&self) -> Self::CTX {
        Load::enter(&self.hub)
    }

    async fn request_filter(&self, session: &mut Session, _ctx: &mut Self::CTX) -> Result<bool> {
        // Boxed: the exchange is a large future, and Pingora's own frames would carry it along.
        Box::pin(pipeline::serve(&self.hub, session)).await;
        Ok(true)
    }

    async fn upstream_peer(&self, _session: &mut Session, _ctx: &mut Self::CTX) -> Result<Box<HttpPeer>> {
        Error::e_explain(ErrorType::InternalError, "the native path is not used")
    }

    fn suppress_error_log(&self, _session: &Session, _ctx: &Self::CTX, _error: &Error) -> bool {
        true
    }
}
