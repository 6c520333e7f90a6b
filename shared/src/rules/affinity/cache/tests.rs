use super::*;
use crate::testing::session_key;
use proptest::prelude::*;
use std::collections::{HashMap, VecDeque};

const TTL_MS: u64 = 300_000;
const T: UnixMillis = UnixMillis(1_790_000_000_000);

fn binding(generation: u64) -> Binding {
    Binding {
        provider_id: ProviderId(generation.cast_signed()),
        identity: Identity(1),
        generation,
        slow_turns: 0,
    }
}

fn moved(key: SessionKey, generation: u64) -> SessionNews {
    SessionNews::Moved { key, binding: binding(generation) }
}

fn ask(cache: &mut BindingCache, key: SessionKey, now: UnixMillis) -> (Ticket, Option<u64>) {
    match cache.look_up(&key, now) {
        Lookup::Ask { ticket, known } => (ticket, known.map(|known| known.binding.generation)),
        Lookup::Fresh(known) => panic!("{known:?}"),
    }
}

fn fresh(cache: &mut BindingCache, key: SessionKey, now: UnixMillis) -> Option<u64> {
    match cache.look_up(&key, now) {
        Lookup::Fresh(known) => Some(known.binding.generation),
        Lookup::Ask { .. } => None,
    }
}

#[test]
fn an_answer_is_gone_by_for_five_seconds_and_kept_for_when_the_store_is_away() {
    let (mut cache, key) = (BindingCache::new(100, TTL_MS), session_key(1));
    let (ticket, known) = ask(&mut cache, key, T);
    assert_eq!(known, None);
    cache.answered(key, ticket, Some(binding(3)));
    assert_eq!(fresh(&mut cache, key, T.plus_ms(4_999)), Some(3));
    assert_eq!(ask(&mut cache, key, T.plus_ms(5_000)).1, Some(3));
    // A clock that was set back makes nothing fresh.
    assert_eq!(ask(&mut cache, key, UnixMillis(T.0 - 1)).1, Some(3));
    // Used all the time while the store is away.
    let mut now = UnixMillis(T.0 - 1);
    for _ in 0..50 {
        now = now.plus_ms(TTL_MS - 1);
        assert_eq!(ask(&mut cache, key, now).1, Some(3));
    }
    // And not at all: as cold as in the store.
    assert_eq!(ask(&mut cache, key, now.plus_ms(TTL_MS)).1, None);
}

#[test]
fn an_answer_from_before_the_news_does_not_undo_it() {
    let (mut cache, key) = (BindingCache::new(100, TTL_MS), session_key(1));
    let (early, _) = ask(&mut cache, key, T);
    cache.hear(&moved(key, 6), T);
    cache.answered(key, early, Some(binding(5)));
    assert_eq!(fresh(&mut cache, key, T), Some(6));
    cache.answered(key, early, None);
    assert_eq!(fresh(&mut cache, key, T), Some(6));
    cache.hear(&SessionNews::Ended { key, generation: 6 }, T);
    cache.answered(key, early, Some(binding(6)));
    assert_eq!(ask(&mut cache, key, T).1, None);
    // What came after it is believed whenever it was asked for.
    cache.answered(key, early, Some(binding(7)));
    assert_eq!(fresh(&mut cache, key, T), Some(7));
    // Late news.
    cache.hear(&moved(key, 6), T);
    cache.hear(&SessionNews::Ended { key, generation: 6 }, T);
    assert_eq!(fresh(&mut cache, key, T), Some(7));
}

#[test]
fn a_store_that_went_back_in_time_is_believed() {
    let (mut cache, key) = (BindingCache::new(100, TTL_MS), session_key(1));
    cache.hear(&moved(key, 9), T);
    let (ticket, _) = ask(&mut cache, key, T.plus_ms(FRESH_MS));
    cache.answered(key, ticket, Some(binding(4)));
    assert_eq!(fresh(&mut cache, key, T.plus_ms(FRESH_MS)), Some(4));
}

#[test]
fn after_something_was_missed_nothing_is_fresh() {
    let (mut cache, key) = (BindingCache::new(100, TTL_MS), session_key(1));
    let (early, _) = ask(&mut cache, key, T);
    cache.answered(key, early, Some(binding(3)));
    cache.hear(&SessionNews::Missed, T);
    let (ticket, known) = ask(&mut cache, key, T);
    assert_eq!(known, Some(3));
    cache.answered(key, early, Some(binding(3)));
    assert_eq!(ask(&mut cache, key, T).1, Some(3));
    cache.answered(key, ticket, Some(binding(3)));
    assert_eq!(fresh(&mut cache, key, T), Some(3));
}

#[test]
fn a_touch_prolongs_what_is_known() {
    let (mut cache, key) = (BindingCache::new(100, TTL_MS), session_key(1));
    let ticket = cache.ticket(T);
    cache.answered(key, ticket, Some(binding(3)));
    let ticket = cache.ticket(T.plus_ms(TTL_MS));
    cache.touched(key, ticket, 3, Some(2));
    match cache.look_up(&key, T.plus_ms(TTL_MS + 1)) {
        Lookup::Fresh(known) => {
            assert_eq!((known.binding.slow_turns, known.slid_at), (2, T.plus_ms(TTL_MS)));
        }
        Lookup::Ask { known, .. } => panic!("{known:?}"),
    }
    cache.touched(key, ticket, 2, Some(0));
    cache.touched(key, ticket, 2, None);
    assert_eq!(fresh(&mut cache, key, T.plus_ms(TTL_MS)), Some(3));
    cache.touched(key, ticket, 3, None);
    assert_eq!(ask(&mut cache, key, T.plus_ms(TTL_MS)).1, None);
    // Of what is not known, nothing is learnt but its end.
    cache.touched(session_key(2), ticket, 3, Some(0));
    assert_eq!(ask(&mut cache, session_key(2), T).1, None);
}

#[test]
fn what_the_store_could_not_be_told_stands_until_it_has_something_newer() {
    let (mut cache, key) = (BindingCache::new(100, TTL_MS), session_key(1));
    let known = |cache: &mut BindingCache| match cache.look_up(&key, T) {
        Lookup::Ask { ticket, known: Some(known) } => (ticket, known),
        other => panic!("{other:?}"),
    };
    cache.hear(&moved(key, 5), T);
    cache.stand_in(key, ProviderId(77), Identity(2), T);
    let (ticket, found) = known(&mut cache);
    let expected =
        Binding { provider_id: ProviderId(77), identity: Identity(2), generation: 5, slow_turns: 0 };
    assert_eq!((found.binding, found.stands_in), (expected, true));
    // The store is back, and does not know that this one failed; or has forgotten it.
    cache.answered(key, ticket, Some(binding(5)));
    cache.answered(key, ticket, None);
    cache.hear(&SessionNews::Ended { key, generation: 5 }, T);
    let (ticket, found) = known(&mut cache);
    assert_eq!(found.binding, expected);
    // It was told at last.
    cache.answered(key, ticket, Some(binding(6)));
    assert_eq!(fresh(&mut cache, key, T), Some(6));

    // A session that was never bound.
    let other = session_key(2);
    cache.stand_in(other, ProviderId(77), Identity(2), T);
    let (ticket, generation) = ask(&mut cache, other, T);
    assert_eq!(generation, Some(0));
    cache.answered(other, ticket, Some(binding(1)));
    assert_eq!(fresh(&mut cache, other, T), Some(1));
}

#[test]
fn of_too_many_sessions_those_in_use_are_kept() {
    let mut cache = BindingCache::new(100, TTL_MS);
    let told = |cache: &mut BindingCache, n: usize| {
        let ticket = cache.ticket(T);
        cache.answered(session_key(n), ticket, Some(binding(1)));
    };
    told(&mut cache, 0);
    for n in 1..1_000 {
        told(&mut cache, n);
        assert!(cache.len() <= 100);
        assert_eq!(fresh(&mut cache, session_key(0), T), Some(1));
    }
    assert_eq!(ask(&mut cache, session_key(1), T).1, None);
}

#[test]
fn an_answer_from_before_a_session_was_forgotten_is_not_kept() {
    let (mut cache, key) = (BindingCache::new(4, TTL_MS), session_key(0));
    let (early, _) = ask(&mut cache, key, T);
    cache.hear(&SessionNews::Ended { key, generation: 5 }, T);
    for n in 1..10 {
        cache.hear(&moved(session_key(n), 9), T);
    }
    cache.answered(key, early, Some(binding(5)));
    assert_eq!(ask(&mut cache, key, T).1, None);
}

#[derive(Clone, Debug)]
enum Step {
    Pass(u64),
    /// Another node binds or moves.
    Bind(usize),
    /// Somebody ends it.
    End(usize),
    LookUp(usize),
    /// The store answers one of the questions under way.
    Serve(prop::sample::Index),
    /// One of the answers arrives.
    Deliver(prop::sample::Index),
    Hear,
    /// All news under way is lost.
    Lose,
    StandIn(usize),
}

fn step() -> impl Strategy<Value = Step> {
    let key = || 0usize..4;
    prop_oneof![
        2 => (0u64..3_000).prop_map(Step::Pass),
        3 => key().prop_map(Step::Bind),
        1 => key().prop_map(Step::End),
        6 => key().prop_map(Step::LookUp),
        4 => any::<prop::sample::Index>().prop_map(Step::Serve),
        4 => any::<prop::sample::Index>().prop_map(Step::Deliver),
        3 => Just(Step::Hear),
        1 => Just(Step::Lose),
        1 => key().prop_map(Step::StandIn),
    ]
}

/// News arrives within this.
const NEWS_MS: u64 = 1_000;

/// The store as it is, what is under way, and what the node has learnt.
struct World {
    now: UnixMillis,
    in_force: HashMap<SessionKey, u64>,
    /// Until when each generation was in force.
    ended_at: HashMap<u64, UnixMillis>,
    last_generation: u64,
    asked: Vec<(SessionKey, Ticket)>,
    answers: Vec<(SessionKey, Ticket, Option<u64>)>,
    news: VecDeque<(UnixMillis, SessionNews)>,
    /// No lower generation is in force any more, as far as the node can know.
    floor: HashMap<SessionKey, u64>,
}

impl World {
    fn end(&mut self, key: SessionKey) -> Option<u64> {
        let generation = self.in_force.remove(&key)?;
        self.ended_at.insert(generation, self.now);
        Some(generation)
    }

    fn hear(&mut self, cache: &mut BindingCache) {
        let Some((_, news)) = self.news.pop_front() else { return };
        let (key, floor) = match news {
            SessionNews::Moved { key, binding } => (key, binding.generation),
            SessionNews::Ended { key, generation } => (key, generation + 1),
            SessionNews::Missed => return cache.hear(&news, self.now),
        };
        self.forget_if_new(cache, key);
        cache.hear(&news, self.now);
        self.raise(key, floor);
    }

    /// Of a session that was forgotten meanwhile, the node may learn again what it knew before.
    fn forget_if_new(&mut self, cache: &BindingCache, key: SessionKey) {
        if !cache.young.contains_key(&key) && !cache.old.contains_key(&key) {
            self.floor.remove(&key);
        }
    }

    fn raise(&mut self, key: SessionKey, floor: u64) {
        let known = self.floor.entry(key).or_default();
        *known = floor.max(*known);
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2_000, ..ProptestConfig::default() })]

    /// Whatever is late, lost or out of order: nothing old is written back, and nothing fresh is older than it may be.
    #[test]
    fn what_is_told_is_never_older_than_what_was_heard(
        bound in prop_oneof![Just(4usize), Just(100)],
        steps in prop::collection::vec(step(), 1..150),
    ) {
        let mut cache = BindingCache::new(bound, TTL_MS);
        let mut world = World {
            now: T,
            in_force: HashMap::new(),
            ended_at: HashMap::new(),
            last_generation: 0,
            asked: Vec::new(),
            answers: Vec::new(),
            news: VecDeque::new(),
            floor: HashMap::new(),
        };
        for step in steps {
            match step {
                Step::Pass(ms) => {
                    world.now = world.now.plus_ms(ms);
                    while world.news.front().is_some_and(|(at, _)| world.now.since(*at) > NEWS_MS) {
                        world.hear(&mut cache);
                    }
                }
                Step::Bind(n) => {
                    let key = session_key(n);
                    let before = world.end(key);
                    world.last_generation += 1;
                    world.in_force.insert(key, world.last_generation);
                    if before.is_some() {
                        world.news.push_back((world.now, moved(key, world.last_generation)));
                    }
                }
                Step::End(n) => {
                    let key = session_key(n);
                    if let Some(generation) = world.end(key) {
                        world.news.push_back((world.now, SessionNews::Ended { key, generation }));
                    }
                }
                Step::LookUp(n) => {
                    let key = session_key(n);
                    let known = match cache.look_up(&key, world.now) {
                        Lookup::Fresh(known) => {
                            let generation = known.binding.generation;
                            prop_assert!(!known.stands_in);
                            if let Some(ended_at) = world.ended_at.get(&generation) {
                                prop_assert!(world.now.since(*ended_at) < FRESH_MS + NEWS_MS);
                            }
                            Some(known)
                        }
                        Lookup::Ask { ticket, known } => {
                            world.asked.push((key, ticket));
                            known
                        }
                    };
                    if let Some(known) = known.filter(|known| !known.stands_in) {
                        let floor = world.floor.get(&key).copied().unwrap_or(0);
                        prop_assert!(known.binding.generation >= floor, "{:?} {}", known, floor);
                    }
                }
                Step::Serve(at) if !world.asked.is_empty() => {
                    let (key, ticket) = world.asked.remove(at.index(world.asked.len()));
                    world.answers.push((key, ticket, world.in_force.get(&key).copied()));
                }
                Step::Deliver(at) if !world.answers.is_empty() => {
                    let (key, ticket, generation) = world.answers.remove(at.index(world.answers.len()));
                    cache.answered(key, ticket, generation.map(binding));
                    if let Some(Lookup::Fresh(known)) = generation.map(|_| cache.look_up(&key, world.now)) {
                        world.raise(key, known.binding.generation);
                    }
                }
                Step::Serve(_) | Step::Deliver(_) => {}
                Step::Hear => world.hear(&mut cache),
                Step::Lose => {
                    world.news.clear();
                    world.news.push_back((world.now, SessionNews::Missed));
                }
                Step::StandIn(n) => {
                    world.forget_if_new(&cache, session_key(n));
                    cache.stand_in(session_key(n), ProviderId(1), Identity(1), world.now);
                }
            }
            prop_assert!(cache.len() <= bound);
        }
    }
}
