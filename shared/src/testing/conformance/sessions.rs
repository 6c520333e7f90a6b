//! What every store of sessions must do.

use crate::contract::session::{ActiveSession, SessionFilter, SessionPage, SessionPlace};
use crate::ids::{ProviderId, UserId};
use crate::ports::{ActiveSessions, MAX_SEEN, MAX_TOUCHES, PortError, SessionNews, SessionStore, Touch};
use crate::rules::affinity::{Binding, Identity, Pace};
use crate::testing::{active_session, session_key};
use crate::time::UnixMillis;

const A: (ProviderId, Identity) = (ProviderId(1), Identity(u64::MAX));
const B: (ProviderId, Identity) = (ProviderId(i64::MAX), Identity(0));

/// A session is bound once, moved and ended by who knows the generation in force, and all nodes hear of it; who is active is
/// listed. Two nodes' stores over the same sessions; `now` is their clock, as near as may be.
pub async fn sessions(
    one: &dyn SessionStore,
    other: &dyn SessionStore,
    active: &dyn ActiveSessions,
    now: impl Fn() -> UnixMillis,
) {
    bindings(one, other).await;
    paces(one, other).await;
    terminations(one, other, active).await;
    lists(one, other, active, &now).await;
}

async fn bindings(one: &dyn SessionStore, other: &dyn SessionStore) {
    let key = session_key(1);
    assert_eq!(one.read(key).await, Ok(None));
    let first = one.bind(key, None, A.0, A.1).await.unwrap();
    assert_eq!((first.provider_id, first.identity, first.slow_turns), (A.0, A.1, 0));
    assert!((1..1 << 53).contains(&first.generation));
    assert_eq!(other.read(key).await, Ok(Some(first)));
    // Somebody is bound: by whoever was first.
    assert_eq!(other.bind(key, None, B.0, B.1).await, Ok(first));
    assert_eq!(other.bind(key, Some(first.generation + 1), B.0, B.1).await, Ok(first));
    assert_eq!(one.read(key).await, Ok(Some(first)));

    // Two fail over at once: one moves it, the other is told.
    let second = other.bind(key, Some(first.generation), B.0, B.1).await.unwrap();
    assert_eq!((second.provider_id, second.identity), B);
    assert!(second.generation > first.generation);
    assert_eq!(one.bind(key, Some(first.generation), A.0, A.1).await, Ok(second));
    // A first binding is no news; a move is, to all.
    hears(one, other, &SessionNews::Moved { key, binding: second }).await;

    assert_eq!(one.unbind(key, first.generation).await, Ok(false));
    assert_eq!(one.unbind(key, second.generation).await, Ok(true));
    assert_eq!(one.unbind(key, second.generation).await, Ok(false));
    assert_eq!(other.read(key).await, Ok(None));
    hears(one, other, &SessionNews::Ended { key, generation: second.generation }).await;

    // Whatever was expected, nobody is bound. No generation comes twice.
    let third = one.bind(key, Some(second.generation), A.0, A.1).await.unwrap();
    assert!(third.generation > second.generation);
    assert_eq!((third.provider_id, third.identity), A);
    // Sessions know nothing of each other.
    assert_eq!(one.read(session_key(2)).await, Ok(None));
}

async fn paces(one: &dyn SessionStore, other: &dyn SessionStore) {
    let (key, gone) = (session_key(3), session_key(4));
    let bound = one.bind(key, None, A.0, A.1).await.unwrap();
    let generation = bound.generation;
    let touch = |pace| Touch { key, generation, pace };
    let slow = touch(Some(Pace::Slow));
    assert_eq!(one.touch(&[]).await, Ok(vec![]));
    assert_eq!(one.touch(&[slow]).await, Ok(vec![Some(1)]));
    let batch =
        [Touch { key: gone, ..slow }, slow, touch(None), Touch { generation: generation - 1, ..slow }];
    let told = other.touch(&batch).await.unwrap();
    assert_eq!((told[0], told[2].is_some(), told[3]), (None, true, None));
    assert_eq!(one.read(key).await, Ok(Some(Binding { slow_turns: 2, ..bound })));
    assert_eq!(one.touch(&[touch(Some(Pace::Quick))]).await, Ok(vec![Some(0)]));
    assert_eq!(one.touch(&[touch(None)]).await, Ok(vec![Some(0)]));
    // A move begins anew.
    one.touch(&[slow]).await.unwrap();
    let moved = one.bind(key, Some(generation), B.0, B.1).await.unwrap();
    assert_eq!(one.read(key).await, Ok(Some(Binding { slow_turns: 0, ..moved })));
    hears(one, other, &SessionNews::Moved { key, binding: moved }).await;
    assert_eq!(one.touch(&vec![slow; MAX_TOUCHES + 1]).await, Err(PortError::Full));
    assert_eq!(one.touch(&vec![slow; MAX_TOUCHES]).await, Ok(vec![None; MAX_TOUCHES]));
}

async fn terminations(one: &dyn SessionStore, other: &dyn SessionStore, active: &dyn ActiveSessions) {
    let key = session_key(5);
    assert_eq!(active.bound(key).await, Ok(None));
    let bound = one.bind(key, None, A.0, A.1).await.unwrap();
    assert_eq!(active.bound(key).await, Ok(Some(bound)));
    assert_eq!(active.terminate(key).await, Ok(true));
    assert_eq!(active.bound(key).await, Ok(None));
    assert_eq!(other.read(key).await, Ok(None));
    let ended = ended(one, other, key).await;
    assert!(ended >= bound.generation);
    // Nothing is known of it, but a node may still go by something: all are told.
    assert_eq!(active.terminate(key).await, Ok(false));
    self::ended(one, other, key).await;
    let again = one.bind(key, Some(bound.generation), A.0, A.1).await.unwrap();
    assert!(again.generation > ended);
}

async fn lists(
    one: &dyn SessionStore,
    other: &dyn SessionStore,
    active: &dyn ActiveSessions,
    now: &impl Fn() -> UnixMillis,
) {
    let all = SessionFilter::default();
    assert_eq!(active.list(&all, None, 10).await, Ok(SessionPage::default()));
    // Twenty sessions, each seen some seconds before the next; a clock that is wrong by an hour tells nothing wrong.
    let clock = UnixMillis(now().0 - 3_600_000);
    let seen = |n: u8| {
        let at = UnixMillis(clock.0 - 1_000 * i64::from(n));
        let first_seen_at = UnixMillis(at.0 - 500);
        let mut seen = ActiveSession { first_seen_at, last_seen_at: at, ..active_session(usize::from(n)) };
        seen.doc.user_id = UserId(i64::from(n % 2));
        seen
    };
    let sessions: Vec<ActiveSession> = (0..20).map(seen).collect();
    one.saw(clock, &sessions).await.unwrap();
    one.saw(clock, &[]).await.unwrap();
    let page = active.list(&all, None, 100).await.unwrap();
    assert_eq!(page.next, None);
    assert!(page.sessions.iter().map(|s| s.key).eq((0..20).map(session_key)));
    let first = &page.sessions[0];
    assert!(first.last_seen_at.0.abs_diff(now().0) < 60_000, "by the store's clock");
    assert_eq!(first.last_seen_at.since(first.first_seen_at), 500);
    assert_eq!((first.requests, &first.doc), (1, &seen(0).doc));

    // Page by page, and only those that pass.
    for (filter, step) in
        [(all.clone(), 1), (all.clone(), 3), (SessionFilter { user_id: Some(UserId(1)), ..all.clone() }, 2)]
    {
        let expected: Vec<&ActiveSession> = page.sessions.iter().filter(|s| filter.passes(&s.doc)).collect();
        let mut found = Vec::new();
        let mut after: Option<SessionPlace> = None;
        loop {
            let page = active.list(&filter, after, step).await.unwrap();
            assert!(page.sessions.len() <= step);
            found.extend(page.sessions);
            after = page.next;
            if after.is_none() {
                break;
            }
        }
        assert!(found.iter().eq(expected));
    }
    assert!(active.list(&all, None, 0).await.unwrap().sessions.is_empty());

    // Another node saw the oldest one meanwhile: it comes first, and all its requests count.
    let mut again = seen(19);
    again.requests = 4;
    (again.last_seen_at, again.doc.model) = (clock, Some("other-model".to_owned()));
    again.first_seen_at = clock;
    other.saw(clock, &[again.clone()]).await.unwrap();
    // And saw something long ago, of which it tells late.
    let late = ActiveSession { first_seen_at: UnixMillis(clock.0 - 30_000), ..seen(19) };
    other.saw(clock, &[late]).await.unwrap();
    let by_model = SessionFilter { model: again.doc.model.clone(), ..all.clone() };
    let found = active.list(&by_model, None, 10).await.unwrap().sessions;
    assert_eq!(found.len(), 1);
    assert_eq!((found[0].key, found[0].requests, &found[0].doc), (again.key, 6, &again.doc));
    assert!(found[0].last_seen_at.since(found[0].first_seen_at).abs_diff(30_000) < 5_000);

    // Terminated: not listed any more, unless it goes on.
    assert_eq!(active.terminate(again.key).await, Ok(true));
    ended(one, other, again.key).await;
    assert_eq!(active.list(&by_model, None, 10).await, Ok(SessionPage::default()));
    one.saw(clock, &[again.clone()]).await.unwrap();
    assert_eq!(active.list(&by_model, None, 10).await.unwrap().sessions[0].requests, 4);
    assert_eq!(one.saw(clock, &vec![again.clone(); MAX_SEEN + 1]).await, Err(PortError::Full));

    // Told of one after it is over: it is not.
    let over = ActiveSession { last_seen_at: UnixMillis(clock.0 - 86_400_000), ..active_session(50) };
    one.saw(clock, &[over]).await.unwrap();
    assert_eq!(active.list(&all, None, 100).await.unwrap().sessions.len(), 20);
}

async fn ended(
    one: &dyn SessionStore,
    other: &dyn SessionStore,
    key: crate::rules::session::SessionKey,
) -> u64 {
    let news = next(one).await;
    assert_eq!(next(other).await, news);
    match news {
        SessionNews::Ended { key: whose, generation } if whose == key => generation,
        news => panic!("{news:?}"),
    }
}

async fn hears(one: &dyn SessionStore, other: &dyn SessionStore, news: &SessionNews) {
    for store in [one, other] {
        assert_eq!(&next(store).await, news);
    }
}

/// The next news, of which there is one; that something was missed is always true of a store that was just opened.
async fn next(store: &dyn SessionStore) -> SessionNews {
    loop {
        let mut news = store.news().await;
        news.retain(|news| *news != SessionNews::Missed);
        assert!(news.len() <= 1, "{news:?}");
        if let Some(news) = news.pop() {
            return news;
        }
    }
}
