use super::*;
use crate::contract::breaker::{Circuit, Mark, Report};
use crate::ids::ProviderId;
use crate::ports::Since;
use crate::rules::breaker::fleet::Fleet;
use crate::rules::breaker::table::{Standing, Table};
use crate::rules::breaker::{Policy, mark};
use crate::rules::classify::{AttemptEnd, ErrorFacts, classify};
use crate::rules::select::{Draws, Out, OutReason, Pool, SelectFacts, Selection, select};
use crate::testing::{provider, rng, sample};
use crate::time::Zone;
use proptest::prelude::*;
use rand::RngCore;
use std::collections::HashSet;

const START: i64 = 1_790_000_000_000;

fn at(ms: u64) -> UnixMillis {
    UnixMillis(START).plus_ms(ms)
}

fn verdict(status: u16) -> Verdict {
    classify(&AttemptEnd::Status { code: status, facts: &ErrorFacts::default() }, Some("m"))
}

fn missing() -> Verdict {
    let facts = ErrorFacts::read(br#"{"error":{"code":"model_not_found","message":"no m"}}"#);
    classify(&AttemptEnd::Status { code: 404, facts: &facts }, Some("m"))
}

fn asked(verdict: &Verdict, hint_ms: Option<u64>) -> CoolAsk {
    ask(verdict, Some("m"), hint_ms, &mut rng(1)).unwrap()
}

/// How long it now takes, after it is set at this moment.
fn set_at(all: &mut Vec<Cooldown>, ask: &CoolAsk, ms: u64) -> Option<u64> {
    let has_changed = set(all, ask, &sample(1, Some(429), at(ms)), at(ms), ms);
    has_changed.then(|| all.last().unwrap().until.since(at(ms)))
}

#[test]
fn each_kind_has_its_scope_and_its_time() {
    let minute = 60_000;
    for (verdict, hint_ms, kind, model, first_ms) in [
        (verdict(401), None, CoolKind::Credential, None, 5 * minute),
        (verdict(402), Some(1), CoolKind::Credential, None, 5 * minute),
        (verdict(429), Some(17_000), CoolKind::RateLimit, Some("m"), 17_000),
        (verdict(429), Some(0), CoolKind::RateLimit, Some("m"), 1_000),
        (verdict(429), Some(u64::MAX), CoolKind::RateLimit, Some("m"), 360 * minute),
        (verdict(429), None, CoolKind::RateLimit, Some("m"), 30_000),
        (missing(), None, CoolKind::ModelMissing, Some("m"), 10 * minute),
    ] {
        let ask = asked(&verdict, hint_ms);
        assert_eq!((ask.kind, ask.model.as_deref(), ask.first_ms), (kind, model, first_ms));
    }
    for nothing in [400, 404, 422, 500, 502, 503, 504] {
        assert_eq!(ask(&verdict(nothing), Some("m"), Some(9), &mut rng(1)), None, "{nothing}");
    }
    // Without a model: a rate limit is the provider's, and nothing is missing.
    assert_eq!(ask(&verdict(429), None, None, &mut rng(1)).unwrap().model, None);
    assert_eq!(ask(&missing(), None, None, &mut rng(1)), None);
    let long = "m".repeat(MAX_MODEL_BYTES + 1);
    assert_eq!(ask(&verdict(429), Some(&long), None, &mut rng(1)), None);
}

#[test]
fn a_refused_account_rests_longer_each_time_until_an_hour_and_a_success_ends_that() {
    let mut all = Vec::new();
    let ask = asked(&verdict(401), None);
    let mut now = 0;
    for minutes in [5, 10, 20, 40, 60, 60] {
        assert_eq!(set_at(&mut all, &ask, now), Some(minutes * 60_000));
        // Whatever else was in flight belongs to it.
        assert_eq!(set_at(&mut all, &ask, now + 50), None);
        now += minutes * 60_000 + 1;
    }
    // Admitted before the last refusal, then after it.
    let set_by = all[0].number;
    assert!(!succeeded(&mut all, set_by - 1));
    assert!(succeeded(&mut all, set_by) && all.is_empty());
    assert_eq!(set_at(&mut all, &ask, now), Some(5 * 60_000));
    // Forgotten after a day.
    assert_eq!(set_at(&mut all, &ask, now + 2 * 86_400_000), Some(5 * 60_000));
}

#[test]
fn a_rate_limit_follows_the_latest_word_and_without_one_rests_longer() {
    let mut all = Vec::new();
    assert_eq!(set_at(&mut all, &asked(&verdict(429), Some(10_000)), 0), Some(10_000));
    assert_eq!(set_at(&mut all, &asked(&verdict(429), Some(9_000)), 1_500), None, "the same moment");
    assert_eq!(set_at(&mut all, &asked(&verdict(429), Some(2_000)), 1_500), None, "an earlier one");
    assert_eq!(set_at(&mut all, &asked(&verdict(429), Some(20_000)), 1_500), Some(20_000));
    assert_eq!(all.len(), 1);
    all.clear();
    let mut now = 0;
    for secs in [30, 60, 120, 240, 300, 300] {
        assert_eq!(set_at(&mut all, &asked(&verdict(429), None), now), Some(secs * 1_000));
        now += secs * 1_000;
    }
    assert_eq!(set_at(&mut all, &asked(&verdict(429), None), now + 300_000), Some(30_000));
}

#[test]
fn an_overload_rests_a_few_seconds_differently_long() {
    let mut firsts: Vec<u64> = (0..200)
        .map(|seed| ask(&verdict(529), Some("m"), Some(99_999), &mut rng(seed)).unwrap().first_ms)
        .collect();
    assert!(firsts.iter().all(|ms| (1_500..=2_500).contains(ms)));
    firsts.sort_unstable();
    firsts.dedup();
    assert!(firsts.len() > 100, "jitter");
    let mut all = Vec::new();
    let ask = asked(&verdict(529), None);
    let mut now = 0;
    let mut times = Vec::new();
    for _ in 0..5 {
        let ms = set_at(&mut all, &ask, now).unwrap();
        assert_eq!(set_at(&mut all, &ask, now + 1), None);
        times.push(ms);
        now += ms;
    }
    assert_eq!(times, [1, 2, 4, 4, 4].map(|n| n * ask.first_ms));
    assert!(ask.longest_ms <= 10_000);
    assert_eq!(set_at(&mut all, &ask, now + 60_000), Some(ask.first_ms));
}

#[test]
fn what_excludes_goes_before_what_does_not_and_concerns_its_model_alone() {
    let mut all = Vec::new();
    set_at(&mut all, &asked(&verdict(529), None), 0);
    assert_eq!(current(&all, Some("m"), at(1)).unwrap().kind, CoolKind::Overload);
    assert_eq!(current(&all, Some("other"), at(1)), None);
    set_at(&mut all, &asked(&verdict(429), Some(1_000)), 0);
    assert_eq!(current(&all, Some("m"), at(1)).unwrap().kind, CoolKind::RateLimit);
    assert_eq!(current(&all, Some("m"), at(1_000)).unwrap().kind, CoolKind::Overload, "that is over");
    set_at(&mut all, &asked(&verdict(403), None), 5);
    for model in [Some("m"), Some("other"), None] {
        assert_eq!(current(&all, model, at(6)).unwrap().kind, CoolKind::Credential);
    }
}

#[test]
fn many_models_make_room_for_each_other() {
    let mut all = Vec::new();
    for n in 0..100_u64 {
        let model = format!("m{n}");
        // The first ones end last.
        let ask = ask(&verdict(429), Some(&model), Some(1_000_000 - n * 1_000), &mut rng(1)).unwrap();
        assert!(set(&mut all, &ask, &sample(1, Some(429), at(0)), at(0), n));
    }
    assert_eq!(all.len(), MAX_COOLDOWNS);
    assert!(all.iter().all(|c| c.until >= at(1_000_000 - 64_000)));
    assert!(all.iter().any(|c| c.model.as_deref() == Some("m0")));
}

#[test]
fn the_best_of_a_pool_is_asked_and_nobody_when_all_are_out() {
    use Preference::{First, Last, Never};
    assert_eq!(Preference::best([Never, Last, First]), Some(First));
    assert_eq!(Preference::best([Never, Last, Last]), Some(Last));
    assert_eq!(Preference::best([Never, Never]), None);
    assert_eq!(Preference::best([]), None);
}

proptest! {
    /// However it is used: bounded, one for each kind and model, never beyond the longest time, and over some day.
    #[test]
    fn cool_downs_stay_bounded(words in prop::collection::vec((0..4_u8, 0..90_u8, 0..400_000_u64), 0..200)) {
        let (mut all, mut now) = (Vec::new(), 0);
        for (kind, model, wait) in words {
            now += wait;
            let verdict = match kind { 0 => verdict(401), 1 => verdict(429), 2 => verdict(529), _ => missing() };
            let model = format!("m{model}");
            let hint = (kind == 1 && wait % 2 == 0).then_some(wait * 1_000);
            let asked = ask(&verdict, Some(&model), hint, &mut rng(wait)).unwrap();
            set(&mut all, &asked, &sample(1, None, at(now)), at(now), now);
            prop_assert!(all.len() <= MAX_COOLDOWNS);
            let mut names: Vec<_> = all.iter().map(|c| (c.kind, c.model.clone())).collect();
            names.sort();
            names.dedup();
            prop_assert_eq!(names.len(), all.len());
            prop_assert!(all.iter().all(|c| c.until <= at(now + LONGEST_HINT_MS)));
            prop_assert!(all.iter().all(|c| c.kind != CoolKind::Overload || c.until <= at(now + 10_000)));
        }
        prop_assert!(all.iter().all(|c| !c.is_remembered(at(now + 2 * 86_400_000))));
    }
}

/// Five accounts of one vendor in a storm: for half an hour each answer is a 529 most of the time, in waves and by
/// chance; then the storm is over.
struct Storm {
    seed: u64,
}

const SEATS: i64 = 5;
const STORM_MS: u64 = 1_800_000;

impl Storm {
    /// Would this account have served in this moment? The same question gets the same answer.
    fn serves(&self, provider_id: ProviderId, ms: u64) -> bool {
        if ms >= STORM_MS {
            return true;
        }
        // Ten seconds of a wave, by the minute: nobody, hardly anybody, every third.
        let share = [0, 4, 33][usize::try_from(ms / 10_000 % 3).unwrap()];
        let place = (ms / 250) * 16 + provider_id.0.unsigned_abs();
        Draws::at(self.seed, place).next_u64() % 100 < share
    }
}

#[derive(Debug, Default)]
struct Count {
    served: u64,
    served_late: u64,
    unavoidable: u64,
    overloads: u64,
    reports: u64,
    by_seat: [u64; SEATS as usize],
}

/// Requests four a second, half an hour of storm and a minute after it, over two nodes.
fn ride(seed: u64) -> Count {
    let storm = Storm { seed };
    let seats: Vec<_> = (1..=SEATS).map(provider).collect();
    let (mut store, mut nodes) = (Fleet::default(), [Table::default(), Table::default()]);
    let (mut draws, mut count) = (rng(seed), Count::default());
    let pool = Pool::new(&seats, &HashSet::new(), &Zone::default());
    for n in 0..(STORM_MS + 60_000) / 250 {
        let ms = n * 250;
        let now = at(ms);
        let which = usize::try_from(n % 2).unwrap();
        let since = nodes[which].since();
        nodes[which].take_in(store.read(Some(["a", "b"][which]), since, now), now);
        let table = &mut nodes[which];
        let mut out: Vec<Out> = Vec::new();
        let served = loop {
            // Nobody is ever excluded by an overload.
            for seat in &seats {
                let standing = table.standing(seat.id, &seat.circuit_terms(), Some("m"), now);
                assert!(matches!(standing, Standing::Ready | Standing::Overloaded { .. }));
            }
            let facts = SelectFacts {
                pool: &pool,
                groups: &seats[0].group_tag,
                dialect: seats[0].provider_type.dialect(),
                model: Some("m"),
                client: None,
                at: now,
                table: Some((table, now)),
                out: &out,
                only: None,
            };
            let Selection::Chosen(chosen) = select(&facts, &mut draws) else { break None };
            let id = chosen.provider_id;
            let pass = table.pass();
            let (mark, cool, status) = if storm.serves(id, ms) {
                (Mark::Success, None, 200)
            } else {
                count.overloads += 1;
                let verdict = verdict(529);
                (mark(&verdict, Policy::default()), ask(&verdict, Some("m"), None, &mut draws), 529)
            };
            let said = Report {
                provider_id: id,
                terms: seats[usize::try_from(id.0 - 1).unwrap()].circuit_terms(),
                pass,
                mark,
                cool,
                sample: sample(1, Some(status), now),
            };
            if table.is_news(&said, now) {
                count.reports += 1;
                let told = store.report(&said, now);
                told.doc.into_iter().for_each(|doc| table.put(doc, now));
            }
            if mark == Mark::Success {
                break Some(id);
            }
            out.push(Out { provider_id: id, why: OutReason::AlreadyTried });
        };
        match served {
            Some(id) => {
                count.served += 1;
                count.served_late += u64::from(!out.is_empty());
                count.by_seat[usize::try_from(id.0 - 1).unwrap()] += 1;
            }
            // The must: whoever is refused could not have been served by anybody.
            None => {
                count.unavoidable += 1;
                assert!(seats.iter().all(|seat| !storm.serves(seat.id, ms)), "an avoidable refusal at {ms}");
                assert_eq!(out.len(), seats.len());
            }
        }
    }
    for doc in store.read(None, Since::default(), at(STORM_MS + 60_000)).docs {
        assert_eq!((doc.circuit, doc.samples.len()), (Circuit::Closed { failures: 0 }, 0));
    }
    count
}

#[test]
fn a_storm_of_529_over_a_pool_of_five_benches_nobody_and_refuses_nobody_who_could_be_served() {
    for seed in 1..=8 {
        let count = ride(seed);
        // It was a storm, and most of what could be served was not served at once.
        assert!(count.overloads > 15_000 && count.unavoidable > 2_000, "{seed}: {count:?}");
        assert!(count.served > 2_000 && count.served_late > 1_000, "{seed}: {count:?}");
        assert!(count.by_seat.iter().all(|served| *served > count.served / 10), "{seed}: {count:?}");
        // What a running cool-down says already is told to nobody.
        assert!(count.reports < count.overloads / 3, "{seed}: {count:?}");
    }
}
