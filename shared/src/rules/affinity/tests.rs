use super::*;
use crate::model::{ClientAbort, ProviderType};
use crate::money::Multiplier;
use crate::rules::select::Draws;
use crate::secret::Sealed;
use crate::testing::{provider, session_key};
use proptest::prelude::*;
use rand::RngCore;

const TTL_MS: u64 = 300_000;
const NOW: UnixMillis = UnixMillis(1_790_000_000_000);

fn bound_to(provider: &Provider) -> Binding {
    Binding { provider_id: provider.id, identity: provider.identity(), generation: 7, slow_turns: 0 }
}

fn known(binding: Binding, age_ms: u64) -> Option<Known> {
    let slid_at = UnixMillis(NOW.0 - age_ms.cast_signed());
    Some(Known { binding, slid_at, stands_in: false })
}

fn served(first_event_ms: Option<u64>) -> TurnEnd {
    TurnEnd { family: Family::AnthropicMessages, is_success: true, first_event_ms }
}

fn decided(course: Course, known: Option<Known>, end: TurnEnd) -> After {
    after(&TurnFacts { course, known, end, now: NOW, ttl_ms: TTL_MS })
}

#[test]
fn an_account_stays_the_same_through_unrelated_edits() {
    let before = provider(1);
    let edited = Provider {
        name: "other".to_owned(),
        weight: 0,
        priority: 9,
        cost_multiplier: Multiplier::ONE,
        max_attempts: 9,
        is_enabled: false,
        client_abort: ClientAbort::Cancel,
        ..before.clone()
    };
    assert_eq!(edited.identity(), before.identity());
    for other in [
        Provider { provider_type: ProviderType::ClaudeAuth, ..before.clone() },
        Provider { url: "http://127.0.0.1:10".to_owned(), ..before.clone() },
        Provider { secret: Sealed("v1.x.y".to_owned()), ..before.clone() },
    ] {
        assert_ne!(other.identity(), before.identity());
    }
    // It is kept in Redis and read by other releases: as sha256sum says of "claude\0http://127.0.0.1:9\0v1.a.b\0".
    let pinned = Provider { secret: Sealed("v1.a.b".to_owned()), ..before };
    assert_eq!(pinned.identity().to_string(), "c65e5d89ee33e4d8");
    for identity in [Identity(0), Identity(u64::MAX), Identity(1 << 63)] {
        assert_eq!(identity.to_string().parse(), Ok(identity));
        let json = serde_json::to_string(&identity).unwrap();
        assert_eq!((json.len(), serde_json::from_str::<Identity>(&json).unwrap()), (18, identity));
    }
}

#[test]
fn a_binding_is_gone_with_its_account() {
    let own = provider(1);
    let binding = bound_to(&own);
    let mine = GroupSet::parse("team");
    let tagged = Provider { group_tag: mine.clone(), ..own.clone() };
    let moved = Provider { url: "http://127.0.0.1:10".to_owned(), ..own.clone() };
    let gone = |reason| Standing::Gone(reason);
    for (provider, groups, expected) in [
        (Some(&own), GroupSet::default(), Standing::Usable),
        (Some(&tagged), mine.clone(), Standing::Usable),
        (Some(&own), mine.clone(), gone(GoneReason::OtherGroup)),
        (Some(&moved), GroupSet::default(), gone(GoneReason::OtherAccount)),
        (Some(&Provider { is_enabled: false, ..own.clone() }), mine, gone(GoneReason::Disabled)),
        (None, GroupSet::default(), gone(GoneReason::Deleted)),
    ] {
        let with_identity = provider.map(|provider| (provider, provider.identity()));
        assert_eq!(standing(&binding, with_identity, &groups), expected);
    }
}

#[test]
fn all_spills_of_a_session_draw_alike_and_sessions_spread() {
    let (a, b) = (session_key(1), SessionKey::from_bytes([1; 16]));
    let usable = Some(Standing::Usable);
    assert_eq!(draw_seed(&a, usable, 1), draw_seed(&a, usable, 2));
    assert_ne!(draw_seed(&a, usable, 1), draw_seed(&b, usable, 1));
    assert_eq!(draw_seed(&a, None, 3), 3);
    assert_eq!(draw_seed(&a, Some(Standing::Gone(GoneReason::Deleted)), 3), 3);
}

#[test]
fn how_a_request_came_to_its_provider() {
    let binding = bound_to(&provider(1));
    let failed = |class, retry_after_secs| BoundFailure { class, retry_after_secs };
    let overload = failed(FailureClass::Overload, None);
    let server = failed(FailureClass::Server, None);
    let told = |failures: &[BoundFailure], served: i64| {
        let bound = Some((binding, Standing::Usable));
        course(&CourseFacts { bound, served: ProviderId(served), failures, ttl_ms: TTL_MS })
    };
    assert_eq!(told(&[], 1), Course::Reused);
    assert_eq!(told(&[server], 1), Course::Reused);
    assert_eq!(told(&[], 2), Course::Spilled);
    assert_eq!(told(&[overload], 2), Course::Spilled);
    assert_eq!(told(&[overload, server], 2), Course::FailedOver);
    for (class, wait, expected) in [
        (FailureClass::RateLimit, None, Course::Spilled),
        (FailureClass::RateLimit, Some(300), Course::Spilled),
        (FailureClass::RateLimit, Some(301), Course::FailedOver),
        (FailureClass::RateLimit, Some(u64::MAX), Course::FailedOver),
        (FailureClass::Overload, Some(301), Course::Spilled),
        (FailureClass::ModelMissing, None, Course::Spilled),
        (FailureClass::NotFound, None, Course::Spilled),
        (FailureClass::Credential, Some(1), Course::FailedOver),
        (FailureClass::Timeout, None, Course::FailedOver),
        (FailureClass::FakeSuccess, None, Course::FailedOver),
        (FailureClass::Transport, None, Course::FailedOver),
        (FailureClass::Ours, None, Course::FailedOver),
    ] {
        assert_eq!(told(&[failed(class, wait)], 2), expected, "{class:?} {wait:?}");
    }
    for served in [1, 2] {
        let gone = Some((binding, Standing::Gone(GoneReason::OtherAccount)));
        let facts = CourseFacts { bound: gone, served: ProviderId(served), failures: &[], ttl_ms: TTL_MS };
        assert_eq!(course(&facts), Course::Replaced);
        assert_eq!(course(&CourseFacts { bound: None, ..facts }), Course::Drawn);
    }
}

#[test]
fn what_is_done_after_a_success() {
    let binding = bound_to(&provider(1));
    let generation = 7;
    let touch = |pace| After::Touch { generation, pace };
    let slow = |turns| Binding { slow_turns: turns, ..binding };
    let stands_in = known(binding, 0).map(|known| Known { stands_in: true, ..known });
    for (course, known, first_event_ms, expected) in [
        (Course::Drawn, None, Some(1), After::Bind),
        (Course::Reused, known(binding, 0), Some(1), After::Keep),
        (Course::Reused, known(binding, 59_999), Some(1), After::Keep),
        (Course::Reused, known(binding, 60_000), Some(1), touch(Some(Pace::Quick))),
        (Course::Reused, known(binding, 60_000), None, touch(None)),
        (Course::Spilled, known(binding, 60_000), Some(99_000), touch(None)),
        (Course::Spilled, known(binding, 0), Some(99_000), After::Keep),
        (Course::Spilled, known(slow(2), 0), Some(99_000), After::Keep),
        (Course::Spilled, known(binding, TTL_MS), Some(1), touch(None)),
        (Course::Reused, known(binding, TTL_MS), Some(1), After::Bind),
        (Course::FailedOver, known(slow(2), 0), Some(99_000), After::Move { expected: generation }),
        (Course::Replaced, known(binding, 0), Some(1), After::Move { expected: generation }),
        // Slow turns.
        (Course::Reused, known(binding, 0), Some(14_999), After::Keep),
        (Course::Reused, known(binding, 0), Some(15_000), touch(Some(Pace::Slow))),
        (Course::Reused, known(slow(1), 0), Some(15_000), touch(Some(Pace::Slow))),
        (Course::Reused, known(slow(2), 0), Some(15_000), After::Drop { generation }),
        (Course::Reused, known(slow(2), 0), Some(1), touch(Some(Pace::Quick))),
        (Course::Reused, known(slow(2), 0), None, After::Keep),
        // The store is told what it could not be told.
        (Course::Reused, stands_in, Some(99_000), After::Move { expected: generation }),
        (Course::Spilled, stands_in, Some(1), After::Keep),
    ] {
        let end = served(first_event_ms);
        assert_eq!(decided(course, known, end), expected, "{course:?} {known:?} {first_event_ms:?}");
        for end in [
            TurnEnd { is_success: false, ..end },
            TurnEnd { family: Family::AnthropicCountTokens, ..end },
            TurnEnd { family: Family::GeminiCountTokens, ..end },
        ] {
            assert_eq!(decided(course, known, end), After::Keep);
        }
    }
}

/// What happens in a session's life.
#[derive(Clone, Debug)]
enum Event {
    /// A request, with what each provider has against it.
    Turn { obstacles: [Obstacle; 3], first_event_ms: Option<u64>, is_cut: bool, is_count: bool },
    /// An admin changes a provider.
    Edit(usize, Edit),
    /// Time passes.
    Pass(u64),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Obstacle {
    None,
    Excluded,
    Fails(BoundFailure),
}

#[derive(Clone, Copy, Debug)]
enum Edit {
    Weight(u32),
    Url(u16),
    Enabled(bool),
    InGroup(bool),
}

fn event() -> impl Strategy<Value = Event> {
    let class = prop::sample::select(vec![
        FailureClass::Overload,
        FailureClass::RateLimit,
        FailureClass::Server,
        FailureClass::Credential,
        FailureClass::ModelMissing,
    ]);
    let failure = (class, prop::option::of(0u64..600))
        .prop_map(|(class, retry_after_secs)| Obstacle::Fails(BoundFailure { class, retry_after_secs }));
    let obstacle =
        || prop_oneof![5 => Just(Obstacle::None), 2 => Just(Obstacle::Excluded), 3 => failure.clone()];
    let turn = (
        [obstacle(), obstacle(), obstacle()],
        prop::option::weighted(0.8, prop_oneof![Just(1u64), Just(20_000)]),
        prop::bool::weighted(0.1),
        prop::bool::weighted(0.1),
    );
    let edit = prop_oneof![
        (0u32..9).prop_map(Edit::Weight),
        (1u16..4).prop_map(Edit::Url),
        any::<bool>().prop_map(Edit::Enabled),
        any::<bool>().prop_map(Edit::InGroup),
    ];
    prop_oneof![
        8 => turn.prop_map(|(obstacles, first_event_ms, is_cut, is_count)| {
            Event::Turn { obstacles, first_event_ms, is_cut, is_count }
        }),
        1 => (0usize..3, edit).prop_map(|(provider, edit)| Event::Edit(provider, edit)),
        1 => (0u64..200_000).prop_map(Event::Pass),
    ]
}

/// A session, the fleet it meets, and the store that keeps its binding.
struct World {
    providers: Vec<Provider>,
    now: UnixMillis,
    in_force: Option<Known>,
    last_generation: u64,
    /// Whom the session spilled to, by who could serve then.
    spills: std::collections::HashMap<Vec<ProviderId>, ProviderId>,
}

impl World {
    fn edit(&mut self, at: usize, edit: Edit) {
        let provider = &mut self.providers[at];
        match edit {
            Edit::Weight(weight) => provider.weight = weight,
            Edit::Url(port) => provider.url = format!("http://127.0.0.1:{port}"),
            Edit::Enabled(is_enabled) => provider.is_enabled = is_enabled,
            Edit::InGroup(is_in) => {
                provider.group_tag = GroupSet::parse(if is_in { "default" } else { "other" });
            }
        }
    }

    /// The binding that a request finds, which lives on.
    fn found(&mut self) -> Option<(Binding, Standing)> {
        let now = self.now;
        self.in_force = self.in_force.filter(|known| now.since(known.slid_at) < TTL_MS);
        let known = self.in_force.as_mut()?;
        known.slid_at = now;
        let provider = self.providers.iter().find(|p| p.id == known.binding.provider_id);
        let groups = GroupSet::default();
        Some((known.binding, standing(&known.binding, provider.map(|p| (p, p.identity())), &groups)))
    }

    /// Who serves, and how the attempts at the bound provider failed before.
    fn serve(
        &mut self,
        bound: Option<(Binding, Standing)>,
        obstacles: &[Obstacle; 3],
    ) -> (Option<ProviderId>, Vec<BoundFailure>) {
        let mut failures = Vec::new();
        let home = bound.filter(|(_, standing)| *standing == Standing::Usable).map(|(b, _)| b.provider_id);
        let obstacle = |id: ProviderId| obstacles[usize::try_from(id.0 - 1).unwrap()];
        match home.map(|id| (id, obstacle(id))) {
            Some((id, Obstacle::None)) => return (Some(id), failures),
            Some((_, Obstacle::Fails(failure))) => failures.push(failure),
            Some((_, Obstacle::Excluded)) | None => {}
        }
        let is_able = |p: &&Provider| p.is_enabled && GroupSet::default().may_use(&p.group_tag);
        let able: Vec<ProviderId> = self.providers.iter().filter(is_able).map(|p| p.id).collect();
        let able: Vec<_> =
            able.into_iter().filter(|id| Some(*id) != home && obstacle(*id) == Obstacle::None).collect();
        let seed = draw_seed(&session_key(1), bound.map(|(_, standing)| standing), 99);
        let at = usize::try_from(Draws::new(seed).next_u64() % (able.len().max(1) as u64)).unwrap();
        let served = able.get(at).copied();
        if let (Some(_), Some(served)) = (home, served) {
            let before = self.spills.insert(able, served);
            assert!(
                before.is_none_or(|before| before == served),
                "a spilled session keeps its other provider"
            );
        }
        (served, failures)
    }

    fn apply(&mut self, after: After, served: ProviderId) {
        let in_force = self.in_force.map(|known| known.binding.generation);
        let mut bind = || {
            self.last_generation += 1;
            let provider = self.providers.iter().find(|p| p.id == served).unwrap();
            let binding = Binding { generation: self.last_generation, ..bound_to(provider) };
            self.in_force = Some(Known { binding, slid_at: self.now, stands_in: false });
        };
        match after {
            After::Keep => {}
            After::Bind if in_force.is_none() => bind(),
            After::Bind => {}
            After::Move { expected } => {
                assert_eq!(in_force, Some(expected));
                bind();
            }
            After::Drop { generation } => {
                assert_eq!(in_force, Some(generation));
                self.in_force = None;
            }
            After::Touch { generation, pace } => {
                assert_eq!(in_force, Some(generation));
                if let Some(known) = &mut self.in_force {
                    known.slid_at = self.now;
                    known.binding.slow_turns = count(&known.binding, pace);
                }
            }
        }
    }
}

proptest! {
    /// A binding moves once for each failover and each provider that is gone, and for nothing else: neither by a spill
    /// nor by what comes back.
    #[test]
    fn bindings_move_for_what_does_not_pass(events in prop::collection::vec(event(), 1..120)) {
        let mut world = World {
            providers: vec![provider(1), provider(2), provider(3)],
            now: NOW,
            in_force: None,
            last_generation: 0,
            spills: std::collections::HashMap::new(),
        };
        let mut slow_in_a_row = 0;
        for event in events {
            let (obstacles, first_event_ms, is_cut, is_count) = match event {
                Event::Edit(at, edit) => {
                    world.edit(at, edit);
                    continue;
                }
                Event::Pass(ms) => {
                    world.now = world.now.plus_ms(ms);
                    continue;
                }
                Event::Turn { obstacles, first_event_ms, is_cut, is_count } => {
                    (obstacles, first_event_ms, is_cut, is_count)
                }
            };
            let bound = world.found();
            let before = world.in_force;
            let (served, failures) = world.serve(bound, &obstacles);
            // Nobody serves: no success.
            let Some(served) = served else { continue };
            let course = course(&CourseFacts { bound, served, failures: &failures, ttl_ms: TTL_MS });
            let family = if is_count { Family::AnthropicCountTokens } else { Family::AnthropicMessages };
            let end = TurnEnd { family, is_success: !is_cut, first_event_ms };
            let facts = TurnFacts { course, known: before, end, now: world.now, ttl_ms: TTL_MS };
            let after = after(&facts);
            world.apply(after, served);

            if is_cut || is_count {
                prop_assert_eq!(world.in_force, before);
                continue;
            }
            let Some((binding, standing)) = bound else {
                prop_assert_eq!(world.in_force.map(|known| known.binding.provider_id), Some(served));
                slow_in_a_row = 0;
                continue;
            };
            let is_gone = standing != Standing::Usable;
            let has_failed = failures.iter().any(|failure| match failure.class {
                FailureClass::Server | FailureClass::Credential => true,
                FailureClass::RateLimit => failure.retry_after_secs.is_some_and(|wait| wait > 300),
                _ => false,
            });
            if is_gone || has_failed {
                let now_bound = world.in_force.map(|known| known.binding);
                prop_assert_eq!(now_bound.map(|b| b.provider_id), Some(served));
                prop_assert_eq!(now_bound.map(|b| b.generation), Some(world.last_generation));
                prop_assert!(now_bound.is_some_and(|b| b.generation > binding.generation && b.slow_turns == 0));
                slow_in_a_row = 0;
                continue;
            }
            let is_home = served == binding.provider_id;
            slow_in_a_row = match first_event_ms.filter(|_| is_home) {
                Some(SLOW_MS..) => slow_in_a_row + 1,
                Some(_) => 0,
                None => slow_in_a_row,
            };
            if slow_in_a_row == MAX_SLOW_TURNS {
                prop_assert_eq!(world.in_force, None);
                slow_in_a_row = 0;
            } else {
                let kept = world.in_force.map(|known| known.binding);
                prop_assert_eq!(kept, Some(Binding { slow_turns: slow_in_a_row, ..binding }));
            }
        }
    }
}
