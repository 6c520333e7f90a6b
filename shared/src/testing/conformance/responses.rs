//! What every store of responses must do.

use crate::ids::ProviderId;
use crate::ports::ResponseStore;
use crate::testing::response_key;

/// What one node made, all know; who is told last is believed, and responses know nothing of each other. Two nodes' stores
/// over the same responses.
pub async fn responses(one: &dyn ResponseStore, other: &dyn ResponseStore) {
    let (first, second) = (response_key(1), response_key(2));
    assert_eq!(one.maker(first).await, Ok(None));
    one.remember(first, ProviderId(7)).await.unwrap();
    for store in [one, other] {
        assert_eq!(store.maker(first).await, Ok(Some(ProviderId(7))));
        assert_eq!(store.maker(second).await, Ok(None));
    }
    // Told twice, as after an answer that was lost.
    one.remember(first, ProviderId(7)).await.unwrap();
    assert_eq!(other.maker(first).await, Ok(Some(ProviderId(7))));
    other.remember(first, ProviderId(i64::MAX)).await.unwrap();
    other.remember(second, ProviderId(1)).await.unwrap();
    assert_eq!(one.maker(first).await, Ok(Some(ProviderId(i64::MAX))));
    assert_eq!(one.maker(second).await, Ok(Some(ProviderId(1))));
    // Many, of all first bytes.
    for n in 3..600 {
        one.remember(response_key(n), ProviderId(i64::from(n))).await.unwrap();
    }
    for n in 3..600 {
        assert_eq!(other.maker(response_key(n)).await, Ok(Some(ProviderId(i64::from(n)))));
    }
}
