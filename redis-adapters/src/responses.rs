//! Responses and their makers in Redis.

use crate::link::{Link, text};
use async_trait::async_trait;
use fred::types::Value;
use shared::contract::response::{self, RESPONSE_MAKER, RESPONSE_REMEMBER};
use shared::ids::ProviderId;
use shared::ports::{PortError, ResponseStore};
use shared::rules::response::ResponseKey;
use std::sync::Arc;
use std::time::Duration;

/// Who made which response.
pub struct RedisResponses {
    link: Arc<Link>,
}

impl RedisResponses {
    /// Over this link.
    #[must_use]
    pub fn new(link: Arc<Link>) -> Arc<Self> {
        Arc::new(Self { link })
    }
}

#[async_trait]
impl ResponseStore for RedisResponses {
    async fn maker(&self, key: ResponseKey) -> Result<Option<ProviderId>, PortError> {
        let answer = self.link.eval(RESPONSE_MAKER, response::maker(key), SEAT_DEADLINE).await?;
        if matches!(answer, Value::Null) {
            return Ok(None);
        }
        let id = text(&answer).and_then(|text| text.parse().ok());
        id.map(|id| Some(ProviderId(id))).ok_or(PortError::Unreadable)
    }

    async fn remember(&self, key: ResponseKey, maker: ProviderId) -> Result<(), PortError> {
        self.link.eval(RESPONSE_REMEMBER, response::remember(key, maker), SEAT_DEADLINE).await.map(|_| ())
    }
}

/// For what a seat waits for.
const SEAT_DEADLINE: Duration = Duration::from_millis(200);
