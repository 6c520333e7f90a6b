use super::*;
use crate::rules::classify::{AttemptEnd, ErrorFacts, TimerPhase, classify};
use proptest::prelude::*;

const START: UnixMillis = UnixMillis(1_000_000);

fn status(code: u16) -> Verdict {
    classify(&AttemptEnd::Status { code, facts: &ErrorFacts::default() }, None)
}

fn timer() -> Verdict {
    classify(&AttemptEnd::TimedOut(TimerPhase::Head), None)
}

fn missing_model() -> Verdict {
    let facts = ErrorFacts::read(br#"{"error":{"code":"model_not_found"}}"#);
    classify(&AttemptEnd::Status { code: 404, facts: &facts }, None)
}

/// The steps after these failures, each provider allowing two attempts, on an idle node.
fn steps(failures: &[Verdict]) -> Vec<Step> {
    let mut plan = Plan::new(None);
    let mut budget = ResendBudget::new(START);
    failures
        .iter()
        .map(|failure| {
            plan.begin();
            plan.after(failure, 2, &mut budget, START)
        })
        .collect()
}

#[test]
fn a_broken_server_is_asked_as_often_as_its_provider_allows_then_another() {
    use Step::{OtherProvider, SameProvider};
    assert_eq!(steps(&[status(500); 4]), [SameProvider, OtherProvider, SameProvider, OtherProvider]);
    assert_eq!(steps(&[status(429), status(401)]), [OtherProvider, OtherProvider]);
    assert_eq!(steps(&[status(400)]), [Step::End(EndReason::RequestFault)]);
}

#[test]
fn a_request_is_sent_again_after_a_timer_only_once() {
    let [first, second] = steps(&[timer(), timer()])[..] else { panic!("two failures") };
    assert_eq!(first, Step::OtherProviderElseSame);
    assert_eq!(second, Step::End(EndReason::TimedOutTwice));
    // Another failure in between changes nothing.
    let last = steps(&[timer(), status(500), timer()]).pop();
    assert_eq!(last, Some(Step::End(EndReason::TimedOutTwice)));
}

#[test]
fn who_is_returned_to_has_its_earlier_tries_counted() {
    let mut plan = Plan::new(None);
    let mut budget = ResendBudget::new(START);
    assert_eq!(plan.begin(), 1);
    assert_eq!(plan.after(&timer(), 2, &mut budget, START), Step::OtherProviderElseSame);
    plan.return_to_last();
    assert_eq!(plan.begin(), 2);
    assert_eq!(plan.after(&status(500), 2, &mut budget, START), Step::OtherProvider);
    // Whoever allows one attempt is not returned to.
    let mut plan = Plan::new(None);
    plan.begin();
    assert_eq!(plan.after(&timer(), 1, &mut budget, START), Step::OtherProvider);
}

#[test]
fn a_request_changes_its_provider_twenty_times_at_most() {
    let all = steps(&[status(429); 21]);
    assert!(all[..20].iter().all(|s| *s == Step::OtherProvider));
    assert_eq!(all[20], Step::End(EndReason::Switches));
}

#[test]
fn nothing_is_sent_again_from_the_deadline_on() {
    for (deadline, step) in [(1_000_001, Step::SameProvider), (1_000_000, Step::End(EndReason::Deadline))] {
        let mut plan = Plan::new(Some(UnixMillis(deadline)));
        plan.begin();
        assert_eq!(plan.after(&status(500), 2, &mut ResendBudget::new(START), START), step);
    }
}

#[test]
fn an_empty_budget_stops_costly_re_sends_and_only_them() {
    let mut budget = ResendBudget::new(START);
    while budget.try_spend(START) {}
    for (failure, step) in
        [(status(500), Step::End(EndReason::ResendBudget)), (status(529), Step::OtherProvider)]
    {
        let mut plan = Plan::new(None);
        plan.begin();
        assert_eq!(plan.after(&failure, 2, &mut budget, START), step);
    }
}

#[test]
fn an_idle_node_earns_ten_re_sends_a_second_and_a_busy_one_a_fifth_of_its_requests() {
    let emptied = || {
        let mut budget = ResendBudget::new(START);
        while budget.try_spend(START) {}
        budget
    };
    let spend_all = |budget: &mut ResendBudget, now| (0..).take_while(|_| budget.try_spend(now)).count();

    let later = UnixMillis(START.0 + 1_000);
    assert_eq!(spend_all(&mut emptied(), later), 10);

    let mut busy = emptied();
    for n in 1..=400 {
        // 400 requests in a second, one each 2.5 ms.
        busy.on_request(UnixMillis(START.0 + n * 5 / 2));
    }
    assert_eq!(spend_all(&mut busy, later), 80);

    let next_day = UnixMillis(START.0 + 86_400_000);
    assert_eq!(spend_all(&mut emptied(), next_day), 100);

    let mut back = emptied();
    assert_eq!(spend_all(&mut back, UnixMillis(0)), 0);
    assert_eq!(spend_all(&mut back, UnixMillis(100)), 1);
}

proptest! {
    #[test]
    fn re_sends_never_pass_the_stated_bound(
        events in prop::collection::vec((0_i64..200, any::<bool>()), 0..500),
    ) {
        let mut budget = ResendBudget::new(START);
        let (mut now, mut requests, mut resends) = (START, 0_u64, 0_u64);
        for (wait, is_request) in events {
            now = UnixMillis(now.0 + wait);
            if is_request {
                budget.on_request(now);
                requests += 1;
            } else {
                resends += u64::from(budget.try_spend(now));
            }
            let millis = now.since(START);
            prop_assert!(resends * 1_000 <= ResendBudget::BURST * 1_000 + millis * 10 + requests * 200);
        }
    }
}

fn failed(verdict: Verdict, retry_after_secs: Option<u64>) -> FailedAttempt {
    FailedAttempt { verdict, retry_after_secs }
}

#[test]
fn the_final_answer_is_what_the_failures_agree_on() {
    let relay = |attempt| FinalAnswer::Relay { attempt };
    let unavailable = |reasons: &[&'static str], retry_after_secs| FinalAnswer::Unavailable {
        reasons: reasons.to_vec(),
        retry_after_secs,
    };
    for (failures, answer) in [
        (vec![], unavailable(&[], None)),
        (vec![failed(status(500), None), failed(status(400), None)], relay(1)),
        (vec![failed(missing_model(), None), failed(missing_model(), None)], relay(0)),
        (vec![failed(status(404), None), failed(missing_model(), None)], relay(1)),
        (vec![failed(status(404), None)], relay(0)),
        (
            vec![failed(missing_model(), None), failed(status(500), None)],
            unavailable(&["model_missing", "server_error"], None),
        ),
        (
            vec![failed(status(429), Some(90)), failed(status(429), None), failed(status(429), Some(30))],
            FinalAnswer::RateLimited { retry_after_secs: 30 },
        ),
        (vec![failed(status(429), None)], FinalAnswer::RateLimited { retry_after_secs: 5 }),
        (
            vec![failed(status(429), Some(9)), failed(status(529), None), failed(status(429), None)],
            unavailable(&["rate_limit", "overload"], Some(9)),
        ),
        (vec![failed(status(401), None)], unavailable(&["provider_unavailable"], None)),
    ] {
        assert_eq!(final_answer(&failures), answer, "{failures:?}");
    }
}

#[test]
fn a_begun_stream_is_searched_for_in_rounds_until_its_caller_gives_up() {
    let mut plan = Plan::new(Some(START.plus_ms(60_000)));
    let down = [failed(status(503), None)];
    let mut now = START;
    let mut waits = Vec::new();
    while let Some(wait_ms) = plan.next_round(&down, now) {
        waits.push(wait_ms);
        now = now.plus_ms(wait_ms);
    }
    assert_eq!(waits, [1_000, 2_000, 4_000, 8_000, 16_000, 16_000]);
    assert!(now < START.plus_ms(60_000), "nothing is asked after that");
}

#[test]
fn a_round_waits_as_long_as_the_soonest_provider_asked_for() {
    let mut plan = Plan::new(Some(START.plus_ms(60_000)));
    let rates = [failed(status(429), Some(30)), failed(status(429), Some(7))];
    assert_eq!(plan.next_round(&rates, START), Some(7_000));
    assert_eq!(plan.next_round(&[failed(status(429), Some(61))], START), None, "the caller is gone by then");
}

#[test]
fn there_is_no_other_round_for_what_would_end_the_same() {
    let mut plan = Plan::new(Some(START.plus_ms(60_000)));
    assert_eq!(plan.next_round(&[], START), None, "nobody was asked");
    assert_eq!(plan.next_round(&[failed(status(400), None)], START), None);
    assert_eq!(plan.next_round(&[failed(missing_model(), None)], START), None);
    let mut endless = Plan::new(None);
    assert_eq!(endless.next_round(&[failed(status(503), None)], START), None, "nobody says when to stop");
}

#[test]
fn the_callers_deadline_is_its_sdks_word_or_ten_minutes() {
    let after = |told: &[&str]| caller_deadline(START, told.iter().copied()).since(START);
    assert_eq!(after(&["30"]), 30_000);
    assert_eq!(after(&[" 1.5 ", "30"]), 1_500);
    assert_eq!(after(&["NOT_GIVEN", "30"]), 30_000, "as the SDKs say it where the client has a timeout");
    for untold in [&[][..], &[""], &["NaN"], &["-1"], &["1e300", "None"], &["soon"]] {
        assert_eq!(after(untold), 600_000, "{untold:?}");
    }
}
