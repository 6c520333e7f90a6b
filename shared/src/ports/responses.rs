//! Responses that providers keep, and who made them.

use super::PortError;
use crate::ids::ProviderId;
use crate::rules::response::ResponseKey;
use async_trait::async_trait;

/// Where all gateways remember which provider made a response: a follow-up may name it by id. The rules are in
/// [`crate::rules::response`].
///
/// Bounded in number, the oldest going first; none is told after [`crate::contract::response::RESPONSE_TTL_SECS`].
#[async_trait]
pub trait ResponseStore: Send + Sync {
    /// Who made this response; `None`: nobody that is remembered.
    async fn maker(&self, key: ResponseKey) -> Result<Option<ProviderId>, PortError>;

    /// Remembers who made a response; who is told last did. When it fails, it may have been done all the same.
    async fn remember(&self, key: ResponseKey, maker: ProviderId) -> Result<(), PortError>;
}
