//! What every store of breakers must do.

use crate::contract::breaker::{
    Cause, Circuit, CircuitDoc, CoolAsk, CoolKind, Mark, Order, Pass, PermitAsk, Report, Sample, Taken, Terms,
};
use crate::ids::ProviderId;
use crate::ports::{BreakerStore, CircuitNews, Since};
use crate::testing::{report, sample};
use crate::time::UnixMillis;

/// A store that is not used yet: reports make transitions, permits are exclusive, all is announced and read.
pub async fn breakers(store: &dyn BreakerStore) {
    nodes(store).await;
    counts(store).await;
    permits(store).await;
    cooldowns(store).await;
    orders(store).await;
    merges(store).await;
}

/// Leaves "a" there.
async fn nodes(store: &dyn BreakerStore) {
    assert_eq!(store.join("a").await, Ok(true));
    let news = read(store, Since::default()).await;
    assert!(news.is_whole && news.docs.is_empty());
    store.report(&said(1, terms(5, HOUR), &news, Mark::Failure)).await.unwrap();
    assert_eq!(store.join("b").await, Ok(false), "it is not alone");
    assert_eq!(read(store, Since::default()).await.docs.len(), 1);
    store.leave("b").await.unwrap();
    store.leave("never there").await.unwrap();
    assert_eq!(store.join("a").await, Ok(true), "nobody else is there");
    let cleared = read(store, news.upto).await;
    assert_eq!((cleared.is_whole, cleared.docs.len()), (false, 0));
    assert!(cleared.floor > news.floor && cleared.upto.upto >= cleared.floor);
    // From before that.
    let told = store.report(&said(1, terms(1, HOUR), &news, Mark::Failure)).await.unwrap();
    assert_eq!((told.doc, told.has_moved), (None, false));
}

async fn counts(store: &dyn BreakerStore) {
    let mut news = read(store, Since::default()).await;
    let terms = terms(3, HOUR);
    for failures in 1..3 {
        let told = store.report(&said(2, terms, &news, Mark::Failure)).await.unwrap();
        let doc = told.doc.unwrap();
        assert_eq!((&doc.circuit, told.has_moved), (&Circuit::Closed { failures }, false));
        assert!(doc.version > news.upto.upto);
        store.changed(news.upto).await;
        let next = read(store, news.upto).await;
        assert_eq!((next.is_whole, &next.docs), (false, &vec![doc]));
        assert_eq!(read(store, next.upto).await.docs, []);
        news = next;
    }
    let tripping = said(2, terms, &news, Mark::Failure);
    let told = store.report(&tripping).await.unwrap();
    let doc = told.doc.unwrap();
    assert!(told.has_moved && doc.generation == doc.version);
    assert_eq!(doc.circuit, Circuit::Open { until: told.at.plus_ms(HOUR) });
    assert_eq!((doc.cause, doc.changed_at), (Some(Cause::Failures), Some(told.at)));
    assert_eq!(doc.samples, vec![tripping.sample.clone(); 3]);
    // Late, both ways.
    for mark in [Mark::Failure, Mark::Success, Mark::Neutral] {
        let told = store.report(&said(2, terms, &news, mark)).await.unwrap();
        assert_eq!((told.doc.as_ref(), told.has_moved), (Some(&doc), false));
    }
    // A success in between, and it is as if nothing had been.
    let news = read(store, news.upto).await;
    store.report(&said(3, terms, &news, Mark::Failure)).await.unwrap();
    let told = store.report(&said(3, terms, &news, Mark::Success)).await.unwrap();
    let doc = told.doc.unwrap();
    assert_eq!(
        (doc.circuit, doc.samples, doc.generation),
        (Circuit::Closed { failures: 0 }, vec![], news.floor)
    );
    // A provider that nothing was ever said against.
    assert_eq!(store.report(&said(4, terms, &news, Mark::Success)).await.unwrap().doc, None);
    let off = Terms { failure_threshold: 0, ..terms };
    assert_eq!(store.report(&said(4, off, &news, Mark::Failure)).await.unwrap().doc, None);
}

async fn permits(store: &dyn BreakerStore) {
    let at_once = terms(1, 0);
    let news = read(store, Since::default()).await;
    let knows = PermitAsk { seen: news.upto.upto, ..ask(10, at_once, "a", HOUR) };
    assert_eq!(store.take_permit(&knows).await.unwrap().0, Taken::Unneeded(pass(&news)));
    store.report(&said(10, at_once, &news, Mark::Failure)).await.unwrap();
    let (refused, told) = store.take_permit(&ask(2, terms(3, HOUR), "a", HOUR)).await.unwrap();
    assert_eq!((refused, told.has_moved), (Taken::Refused, false), "it is not due");
    let (granted, told) = store.take_permit(&ask(10, at_once, "a", HOUR)).await.unwrap();
    let Taken::Granted(first) = granted else { unreachable!("{granted:?}") };
    let doc = told.doc.unwrap();
    assert!(told.has_moved && doc.cause == Some(Cause::Due));
    assert_eq!((Some(doc.version), doc.version), (first.fence, first.seen));
    for node in ["a", "b"] {
        assert_eq!(taken(store, 10, at_once, node, HOUR).await, Taken::Refused, "one is out");
    }
    store.report(&by(first, said(10, at_once, &news, Mark::Success))).await.unwrap();
    // Its time is over at once; the next one's owner goes.
    let lapsing = granted_to(store, 10, at_once, "a", 0).await;
    let left_behind = granted_to(store, 10, at_once, "b", HOUR).await;
    store.leave("b").await.unwrap();
    let swept = read(store, news.upto).await;
    let doc = swept.docs.iter().find(|doc| doc.provider_id == ProviderId(10)).unwrap();
    assert_eq!(doc.circuit, Circuit::HalfOpen { successes: 1, permit: None });
    let last = granted_to(store, 10, at_once, "a", HOUR).await;
    for old in [first, lapsing, left_behind] {
        let told = store.report(&by(old, said(10, at_once, &news, Mark::Failure))).await.unwrap();
        assert!(
            !told.has_moved && matches!(told.doc.unwrap().circuit, Circuit::HalfOpen { permit: Some(_), .. })
        );
    }
    let told = store.report(&by(last, said(10, at_once, &news, Mark::Neutral))).await.unwrap();
    assert_eq!(told.doc.unwrap().circuit, Circuit::HalfOpen { successes: 1, permit: None });
    let last = granted_to(store, 10, at_once, "a", HOUR).await;
    let told = store.report(&by(last, said(10, at_once, &news, Mark::Success))).await.unwrap();
    let doc = told.doc.unwrap();
    assert!(told.has_moved);
    assert_eq!((&doc.circuit, doc.cause), (&Circuit::Closed { failures: 0 }, Some(Cause::Recovered)));
    assert_eq!(doc.samples.len(), 3, "what opened it and what closed it");
    // Under other terms.
    let other = Terms { account: 9, ..at_once };
    assert_eq!(
        taken(store, 10, other, "a", HOUR).await,
        Taken::Refused,
        "it does not know of the last transition"
    );
    let (unneeded, told) =
        store.take_permit(&PermitAsk { seen: doc.version, ..ask(10, other, "a", HOUR) }).await.unwrap();
    let next = told.doc.unwrap();
    assert_eq!(unneeded, Taken::Unneeded(Pass { seen: next.version, fence: None }));
    assert_eq!((next.cause, next.terms, next.samples), (Some(Cause::TermsChanged), other, vec![]));
}

async fn cooldowns(store: &dyn BreakerStore) {
    let news = read(store, Since::default()).await;
    let ask = |kind, model: Option<&str>, first_ms| CoolAsk {
        kind,
        model: model.map(str::to_owned),
        first_ms,
        longest_ms: 5 * HOUR,
        memory_ms: HOUR,
    };
    let cools = |cool| Report { cool: Some(cool), ..said(20, terms(5, HOUR), &news, Mark::Neutral) };
    let limited = cools(ask(CoolKind::RateLimit, Some("m \"1\" \u{e9}/"), HOUR));
    let told = store.report(&limited).await.unwrap();
    let doc = told.doc.unwrap();
    let cooldown = &doc.cooldowns[0];
    assert_eq!(
        (cooldown.kind, &cooldown.model),
        (CoolKind::RateLimit, &limited.cool.as_ref().unwrap().model)
    );
    assert_eq!((cooldown.until, cooldown.memory_ms, cooldown.strikes), (told.at.plus_ms(HOUR), HOUR, 1));
    assert_eq!((cooldown.number, &cooldown.sample), (doc.version, &limited.sample));
    assert!(!told.has_moved);
    assert_eq!(store.report(&limited).await.unwrap().doc.as_ref(), Some(&doc), "it runs already");
    // Over at once: each is a repetition.
    for strikes in 1..4 {
        let refused = Report { mark: Mark::Failure, ..cools(ask(CoolKind::Credential, None, 0)) };
        let doc = store.report(&refused).await.unwrap().doc.unwrap();
        let cooldown = doc.cooldowns.iter().find(|c| c.kind == CoolKind::Credential).unwrap();
        assert_eq!((cooldown.strikes, doc.circuit), (strikes, Circuit::Closed { failures: strikes }));
    }
    // Admitted before the refusals, and after.
    let doc = store.report(&said(20, terms(5, HOUR), &news, Mark::Success)).await.unwrap().doc.unwrap();
    assert_eq!((doc.cooldowns.len(), doc.circuit), (2, Circuit::Closed { failures: 0 }));
    let later = read(store, Since::default()).await;
    let doc = store.report(&said(20, terms(5, HOUR), &later, Mark::Success)).await.unwrap().doc.unwrap();
    assert_eq!(doc.cooldowns.iter().map(|c| c.kind).collect::<Vec<_>>(), [CoolKind::RateLimit]);
}

async fn orders(store: &dyn BreakerStore) {
    let news = read(store, Since::default()).await;
    let open = terms(1, HOUR);
    let tripped = store.report(&said(30, open, &news, Mark::Failure)).await.unwrap().doc.unwrap();
    let at = UnixMillis(1_790_000_000_000);
    let model = Some("claude-\u{e9}\"".to_owned());
    let seen = Sample { request_id: None, attempt: 3, model, ..sample(7, Some(200), at) };
    let probed = |generation| Order::Probed { provider_id: ProviderId(30), generation, sample: seen.clone() };
    let told = store.order(&probed(tripped.generation - 1)).await.unwrap();
    assert_eq!((told.doc.as_ref(), told.has_moved), (Some(&tripped), false));
    let told = store.order(&probed(tripped.generation)).await.unwrap();
    let doc = told.doc.unwrap();
    assert!(told.has_moved);
    assert_eq!(
        (&doc.circuit, doc.cause),
        (&Circuit::HalfOpen { successes: 0, permit: None }, Some(Cause::Probed))
    );
    assert_eq!(doc.samples.last(), Some(&seen));

    let reset =
        |id, only_if| Order::Reset { provider_id: ProviderId(id), terms: open, cause: Cause::Reset, only_if };
    assert!(!store.order(&reset(30, Some(tripped.generation))).await.unwrap().has_moved, "that is past");
    assert!(!store.order(&reset(31, Some(1))).await.unwrap().has_moved);
    let told = store.order(&reset(30, Some(doc.generation))).await.unwrap();
    let doc = told.doc.unwrap();
    assert!(told.has_moved && doc.generation == doc.version && doc.changed_at == Some(told.at));
    assert_eq!(
        (doc.circuit, doc.samples, doc.cause),
        (Circuit::Closed { failures: 0 }, vec![], Some(Cause::Reset))
    );
    // By hand also what nothing is known of: what is under way counts for nothing afterwards.
    assert!(store.order(&reset(31, None)).await.unwrap().has_moved);
    let told = store.report(&said(31, open, &news, Mark::Failure)).await.unwrap();
    assert_eq!(told.doc.unwrap().circuit, Circuit::Closed { failures: 0 });

    let before = read(store, Since::default()).await;
    store.order(&Order::ResetAll).await.unwrap();
    store.changed(before.upto).await;
    let after = read(store, before.upto).await;
    assert!(after.docs.is_empty() && after.floor > before.upto.upto);
    assert!(read(store, Since::default()).await.docs.is_empty());
}

async fn merges(store: &dyn BreakerStore) {
    let news = read(store, Since::default()).await;
    let open = terms(1, HOUR);
    let known = store.report(&said(40, open, &news, Mark::Failure)).await.unwrap().doc.unwrap();
    let older = CircuitDoc { generation: known.generation - 1, ..known.clone() };
    store.merge(&[older]).await.unwrap();
    assert_eq!(docs(store).await, std::slice::from_ref(&known));
    let newer = CircuitDoc {
        generation: known.generation + 5_000,
        version: known.version + 9_000,
        circuit: Circuit::Closed { failures: 0 },
        cause: Some(Cause::Recovered),
        ..known.clone()
    };
    let unknown = CircuitDoc { provider_id: ProviderId(41), ..newer.clone() };
    let void = CircuitDoc { provider_id: ProviderId(42), generation: news.floor - 1, ..known.clone() };
    store.merge(&[newer.clone(), unknown.clone(), void]).await.unwrap();
    let kept = docs(store).await;
    assert!(kept.iter().all(|doc| doc.version > newer.version));
    let version = kept[0].version;
    assert_eq!(kept, [CircuitDoc { version, ..newer }, CircuitDoc { version, ..unknown }]);
    store.merge(&[]).await.unwrap();
    store.merge(&kept).await.unwrap();
    assert_eq!(docs(store).await, kept, "told twice is told once");
    // Numbers go on from there.
    let doc = store.report(&said(43, open, &read(store, news.upto).await, Mark::Failure)).await.unwrap().doc;
    assert!(doc.unwrap().version > version);
}

fn terms(failure_threshold: u32, open_duration_ms: u64) -> Terms {
    Terms { failure_threshold, open_duration_ms, half_open_success_threshold: 2, account: 4_000_000_000 }
}

/// By somebody who knows this.
fn said(id: i64, terms: Terms, news: &CircuitNews, mark: Mark) -> Report {
    Report { terms, ..report(id, pass(news), mark) }
}

fn by(pass: Pass, said: Report) -> Report {
    Report { pass, ..said }
}

fn pass(news: &CircuitNews) -> Pass {
    Pass { seen: news.upto.upto, fence: None }
}

/// By somebody who knows nothing.
fn ask(id: i64, terms: Terms, node: &str, hold_ms: u64) -> PermitAsk {
    PermitAsk { provider_id: ProviderId(id), terms, seen: 0, node: node.to_owned(), hold_ms }
}

async fn taken(store: &dyn BreakerStore, id: i64, terms: Terms, node: &str, hold_ms: u64) -> Taken {
    store.take_permit(&ask(id, terms, node, hold_ms)).await.unwrap().0
}

async fn granted_to(store: &dyn BreakerStore, id: i64, terms: Terms, node: &str, hold_ms: u64) -> Pass {
    let taken = store.take_permit(&ask(id, terms, node, hold_ms)).await.unwrap().0;
    let Taken::Granted(pass) = taken else { unreachable!("{taken:?}") };
    pass
}

async fn read(store: &dyn BreakerStore, since: Since) -> CircuitNews {
    store.read(Some("a"), since).await.unwrap()
}

async fn docs(store: &dyn BreakerStore) -> Vec<CircuitDoc> {
    store.read(None, Since::default()).await.unwrap().docs
}

const HOUR: u64 = 3_600_000;
