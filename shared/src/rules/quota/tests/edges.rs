//! Windows begin and end where the calendar says, by the clock of the zone.

use crate::ids::{JournalId, KeyId, RequestId};
use crate::model::{DailyMode, FiveHoursMode, Limits, WallTime};
use crate::money::NanoUsd;
use crate::rules::quota::{Account, Admission, Ask, Charge, HoldId, Kind, ScopeId, Settle, Terms, What};
use crate::time::{UnixMillis, Zone};

fn at(moment: &str) -> UnixMillis {
    UnixMillis::parse_rfc3339(moment).unwrap()
}

fn limits() -> Limits {
    let limit = Some(NanoUsd(100));
    Limits {
        five_hours: limit,
        daily: limit,
        weekly: limit,
        monthly: limit,
        total: limit,
        ..Limits::default()
    }
}

/// When the window of this kind that holds a moment begins and ends.
fn stretch(limits: &Limits, zone: &str, kind: Kind, moment: &str) -> (String, String) {
    let now = at(moment);
    let terms = Terms::of(limits, &Zone::parse(zone).unwrap(), now);
    let account = Account::new(1);
    let standing = account.standing(&[(ScopeId::Owner, terms)], now);
    let window = standing.windows.iter().find(|window| window.kind == kind).unwrap();
    (window.starts_at.unwrap().to_string(), window.resets_at.unwrap().to_string())
}

#[test]
fn days_weeks_and_months_are_the_zones_own() {
    let cases = [
        (
            "UTC",
            Kind::Daily,
            "2026-11-25T23:59:59.999Z",
            "2026-11-25T00:00:00.000Z",
            "2026-11-26T00:00:00.000Z",
        ),
        ("UTC", Kind::Weekly, "2026-11-25T12:00:00Z", "2026-11-23T00:00:00.000Z", "2026-11-30T00:00:00.000Z"),
        ("UTC", Kind::Weekly, "2026-11-23T00:00:00Z", "2026-11-23T00:00:00.000Z", "2026-11-30T00:00:00.000Z"),
        (
            "UTC",
            Kind::Monthly,
            "2026-12-31T23:59:59Z",
            "2026-12-01T00:00:00.000Z",
            "2027-01-01T00:00:00.000Z",
        ),
        (
            "Asia/Shanghai",
            Kind::Daily,
            "2026-11-25T16:00:00Z",
            "2026-11-25T16:00:00.000Z",
            "2026-11-26T16:00:00.000Z",
        ),
        (
            "Asia/Shanghai",
            Kind::Monthly,
            "2026-10-31T16:00:00Z",
            "2026-10-31T16:00:00.000Z",
            "2026-11-30T16:00:00.000Z",
        ),
        (
            "Asia/Kathmandu",
            Kind::Weekly,
            "2026-11-22T18:14:59Z",
            "2026-11-15T18:15:00.000Z",
            "2026-11-22T18:15:00.000Z",
        ),
    ];
    for (zone, kind, moment, start, end) in cases {
        assert_eq!(
            stretch(&limits(), zone, kind, moment),
            (start.into(), end.into()),
            "{zone} {kind:?} {moment}"
        );
    }
}

#[test]
fn days_are_23_and_25_hours_long_where_the_clocks_change() {
    // Berlin, 29 March and 25 October 2026.
    let day = |moment| stretch(&limits(), "Europe/Berlin", Kind::Daily, moment);
    assert_eq!(
        day("2026-03-29T12:00:00Z"),
        ("2026-03-28T23:00:00.000Z".into(), "2026-03-29T22:00:00.000Z".into())
    );
    assert_eq!(
        day("2026-10-25T12:00:00Z"),
        ("2026-10-24T22:00:00.000Z".into(), "2026-10-25T23:00:00.000Z".into())
    );
    // 02:30 is left out in March: the day begins when the clock shows 03:30. In October it is shown twice: the first counts.
    let early = Limits { daily_reset_time: WallTime::parse("02:30").unwrap(), ..limits() };
    let day = |moment| stretch(&early, "Europe/Berlin", Kind::Daily, moment);
    assert_eq!(
        day("2026-03-29T12:00:00Z"),
        ("2026-03-29T01:30:00.000Z".into(), "2026-03-30T00:30:00.000Z".into())
    );
    assert_eq!(
        day("2026-10-25T01:00:00Z"),
        ("2026-10-25T00:30:00.000Z".into(), "2026-10-26T01:30:00.000Z".into())
    );
    assert_eq!(
        day("2026-10-25T00:29:59Z"),
        ("2026-10-24T00:30:00.000Z".into(), "2026-10-25T00:30:00.000Z".into())
    );
}

/// An account of one scope.
struct Purse {
    account: Account,
    limits: Limits,
    zone: Zone,
    made: u64,
}

impl Purse {
    fn new(limits: Limits) -> Self {
        Self { account: Account::new(1), limits, zone: Zone::parse("Europe/Berlin").unwrap(), made: 0 }
    }

    fn scopes(&self, now: UnixMillis) -> Vec<(ScopeId, Terms)> {
        vec![(ScopeId::Owner, Terms::of(&self.limits, &self.zone, now))]
    }

    fn ask(&mut self, need: i64, now: UnixMillis) -> (HoldId, Admission) {
        self.made += 1;
        let hold = HoldId(RequestId::from_parts(self.made, &[0; 10]), 0);
        let ask = Ask {
            hold,
            owner: journal(),
            need: NanoUsd(need),
            lives_ms: 60_000,
            scopes: self.scopes(now),
            is_counted: true,
            session: None,
            escrow: None,
        };
        (hold, self.account.admit(&ask, 1, now))
    }

    /// Spends at a moment, which must be possible.
    fn spend(&mut self, cost: i64, now: UnixMillis) {
        let (hold, admission) = self.ask(cost, now);
        assert!(matches!(admission, Admission::Admitted { .. }), "{admission:?}");
        self.charge(hold, cost, now, now);
    }

    /// Is told what was spent at a moment, somewhere else.
    fn hears(&mut self, cost: i64, at: UnixMillis, now: UnixMillis) {
        self.made += 1;
        self.charge(HoldId(RequestId::from_parts(self.made, &[0; 10]), 0), cost, at, now);
    }

    fn charge(&mut self, hold: HoldId, cost: i64, at: UnixMillis, now: UnixMillis) {
        let charge = Charge {
            seq: self.made,
            hold,
            cost: NanoUsd(cost),
            at,
            is_interrupted: false,
            from: None,
            scopes: self.scopes(now),
        };
        let settle = Settle { journal: journal(), charges: vec![charge], backs: Vec::new() };
        assert!(self.account.settle(&settle, 1, now));
    }

    /// When it opens, where it refuses one nano-dollar.
    fn refuses(&mut self, now: UnixMillis) -> Option<UnixMillis> {
        match self.ask(1, now).1 {
            Admission::Refused(refusal) => refusal.resets_at,
            other => panic!("{other:?} at {now}"),
        }
    }
}

fn journal() -> JournalId {
    JournalId::from_parts(UnixMillis(1), &[1; 10])
}

fn later(moment: UnixMillis, ms: i64) -> UnixMillis {
    UnixMillis(moment.0 + ms)
}

/// Spends all of a limit at a moment: it refuses until `opens`, says so, and opens then.
fn opens_at(limits: Limits, spent_at: &str, opens: &str) {
    let (spent_at, opens) = (at(spent_at), at(opens));
    let mut purse = Purse::new(limits);
    purse.spend(60, spent_at);
    purse.spend(40, spent_at);
    assert_eq!(purse.refuses(spent_at), Some(opens));
    assert_eq!(purse.refuses(later(opens, -1)), Some(opens));
    purse.spend(100, opens);
    purse.refuses(opens);
}

#[test]
fn each_window_refuses_at_its_edge_and_opens_at_its_reset() {
    let limit = Some(NanoUsd(100));
    let none = Limits::default();
    let daily = Limits { daily: limit, ..none.clone() };
    opens_at(daily.clone(), "2026-11-25T12:00:00Z", "2026-11-25T23:00:00Z");
    opens_at(daily.clone(), "2026-10-25T00:00:00Z", "2026-10-25T23:00:00Z");
    opens_at(daily.clone(), "2026-03-28T23:00:00Z", "2026-03-29T22:00:00Z");
    let odd = Limits { daily_reset_time: WallTime::parse("08:07").unwrap(), ..daily.clone() };
    opens_at(odd, "2026-11-25T07:06:59Z", "2026-11-25T07:07:00Z");
    opens_at(Limits { weekly: limit, ..none.clone() }, "2026-10-20T12:00:00Z", "2026-10-25T23:00:00Z");
    opens_at(Limits { monthly: limit, ..none.clone() }, "2026-10-31T22:59:59Z", "2026-10-31T23:00:00Z");
    let fixed = Limits { five_hours: limit, five_hours_mode: FiveHoursMode::Fixed, ..none.clone() };
    opens_at(fixed, "2026-11-25T12:03:04.567Z", "2026-11-25T17:03:04.567Z");
    // Buckets leave as a whole: five minutes late at most, and fifteen.
    let rolling = Limits { five_hours: limit, ..none.clone() };
    opens_at(rolling, "2026-11-25T12:03:04Z", "2026-11-25T17:05:00Z");
    let rolling = Limits { daily_mode: DailyMode::Rolling, ..daily };
    opens_at(rolling, "2026-10-25T00:03:04Z", "2026-10-26T00:15:00Z");
}

#[test]
fn a_total_opens_with_nothing_but_a_reset_which_forgets_what_was_before() {
    let mut purse = Purse::new(Limits { total: Some(NanoUsd(100)), ..Limits::default() });
    let now = at("2026-11-25T12:00:00Z");
    purse.spend(100, now);
    assert_eq!(purse.refuses(later(now, 400 * 86_400_000)), None);
    let now = later(now, 400 * 86_400_000);
    purse.limits.reset_at = Some(now);
    purse.account.keep(&purse.scopes(now), now);
    purse.spend(100, now);
    purse.refuses(now);
}

#[test]
fn a_reset_of_the_five_hours_leaves_the_day_as_it_is() {
    let limit = Some(NanoUsd(100));
    let mut purse = Purse::new(Limits { five_hours: limit, daily: Some(NanoUsd(150)), ..Limits::default() });
    let now = at("2026-11-25T12:00:00Z");
    purse.spend(100, now);
    purse.limits.five_hours_reset_at = Some(later(now, 1));
    purse.spend(50, later(now, 1));
    let Admission::Refused(refusal) = purse.ask(1, later(now, 2)).1 else { panic!("the day is used up") };
    assert!(matches!(refusal.what, What::Money { kind: Kind::Daily, .. }), "{refusal:?}");
}

#[test]
fn what_is_heard_of_late_ends_no_five_hours_that_have_gone_on_without_it() {
    let five_hours =
        Limits { five_hours: Some(NanoUsd(100)), five_hours_mode: FiveHoursMode::Fixed, ..Limits::default() };
    let mut purse = Purse::new(five_hours);
    let now = at("2026-11-25T12:00:00Z");
    purse.spend(60, now);
    // It began five hours of its own, which are over.
    purse.hears(70, later(now, -6 * HOUR_MS), now);
    purse.spend(30, now);
    // It began these.
    purse.hears(10, later(now, -HOUR_MS), now);
    assert_eq!(purse.refuses(now), Some(later(now, 4 * HOUR_MS)));
    // It belongs to those that were over before.
    purse.hears(10, later(now, -2 * HOUR_MS), now);
    assert_eq!(purse.refuses(now), Some(later(now, 4 * HOUR_MS)));
}

const HOUR_MS: i64 = 3_600_000;

#[test]
fn keys_of_a_user_share_its_budget_and_have_their_own() {
    let owner = Limits { daily: Some(NanoUsd(100)), ..Limits::default() };
    let own = Limits { daily: Some(NanoUsd(70)), ..Limits::default() };
    let (zone, now) = (Zone::default(), at("2026-11-25T12:00:00Z"));
    let mut account = Account::new(1);
    let mut made = 0;
    let mut ask = |key, need| {
        made += 1;
        let scopes = vec![
            (ScopeId::Key(KeyId(key)), Terms::of(&own, &zone, now)),
            (ScopeId::Owner, Terms::of(&owner, &zone, now)),
        ];
        let hold = HoldId(RequestId::from_parts(made, &[0; 10]), 0);
        let (owner, need) = (journal(), NanoUsd(need));
        account.admit(
            &Ask {
                hold,
                owner,
                need,
                lives_ms: 1_000,
                scopes,
                is_counted: true,
                session: None,
                escrow: None,
            },
            1,
            now,
        )
    };
    let refused_by = |admission| match admission {
        Admission::Refused(refusal) => refusal.scope,
        other => panic!("{other:?}"),
    };
    assert!(matches!(ask(1, 70), Admission::Admitted { .. }));
    assert_eq!(refused_by(ask(1, 1)), ScopeId::Key(KeyId(1)));
    assert_eq!(refused_by(ask(2, 31)), ScopeId::Owner);
    assert!(matches!(ask(2, 30), Admission::Admitted { .. }));
}
