mod nodes;

use super::fleet::Fleet;
use super::table::{Standing, Table};
use super::*;
use crate::contract::breaker::{CircuitState, CoolAsk, CoolKind, Order};
use crate::ids::ProviderId;
use crate::ports::Since;
use crate::rules::classify::Next;
use crate::testing::{report, sample};
use proptest::prelude::*;
use std::collections::BTreeMap;

const START: i64 = 1_790_000_000_000;
const A: ProviderId = ProviderId(7);

fn at(ms: i64) -> UnixMillis {
    UnixMillis(START + ms)
}

fn has_permit_out(doc: &CircuitDoc) -> bool {
    matches!(doc.circuit, Circuit::HalfOpen { permit: Some(_), .. })
}

fn doc() -> CircuitDoc {
    CircuitDoc::fresh(A, Terms::default(), 0)
}

/// A document and its clock: each word is said a millisecond later, by somebody who knows everything.
struct One {
    doc: CircuitDoc,
    now: i64,
}

impl One {
    fn new(terms: Terms) -> Self {
        Self { doc: CircuitDoc::fresh(A, terms, 0), now: 0 }
    }

    fn pass(&self) -> Pass {
        Pass { seen: self.doc.version, fence: None }
    }

    fn says(&mut self, mark: Mark, pass: Pass) -> &CircuitDoc {
        self.now += 1;
        let number = self.doc.version + 1;
        let said = Report { terms: self.doc.terms, ..report(A.0, pass, mark) };
        let said = Report { sample: sample(u32::try_from(self.now).unwrap(), None, at(self.now)), ..said };
        if let Some(next) = after_report(&self.doc, &said, at(self.now), number) {
            self.doc = next;
        }
        &self.doc
    }

    fn asks(&mut self, node: &str, at_ms: i64) -> Taken {
        self.now = at_ms;
        let ask = PermitAsk {
            provider_id: A,
            terms: self.doc.terms,
            seen: self.doc.version,
            node: node.to_owned(),
            hold_ms: 60_000,
        };
        let (taken, next) = after_ask(&self.doc, &ask, at(at_ms), self.doc.version + 1, |n| n != "dead");
        self.doc = next.unwrap_or_else(|| self.doc.clone());
        taken
    }

    fn granted(&mut self, node: &str, at_ms: i64) -> Pass {
        match self.asks(node, at_ms) {
            Taken::Granted(pass) => pass,
            other => panic!("{other:?}: {:?}", self.doc),
        }
    }

    fn tripped() -> Self {
        let mut one = Self::new(Terms::default());
        for _ in 0..5 {
            let pass = one.pass();
            one.says(Mark::Failure, pass);
        }
        assert_eq!(one.doc.circuit, Circuit::Open { until: at(5 + 1_800_000) });
        one
    }
}

#[test]
fn only_what_is_the_accounts_fault_counts() {
    let verdict = |class| Verdict {
        class,
        next: Next::NextProvider,
        may_have_cost_work: false,
        label: "any",
        rule: None,
    };
    use FailureClass as F;
    for (class, counts, counts_with_network) in [
        (F::Credential, true, true),
        (F::Server, true, true),
        (F::Timeout, true, true),
        (F::FakeSuccess, true, true),
        (F::Transport, false, true),
        (F::RateLimit, false, false),
        (F::Overload, false, false),
        (F::ModelMissing, false, false),
        (F::NotFound, false, false),
        (F::RequestFault, false, false),
        (F::Ours, false, false),
    ] {
        let marked = |counts_network_errors| mark(&verdict(class), Policy { counts_network_errors });
        let word = |counts| if counts { Mark::Failure } else { Mark::Neutral };
        assert_eq!((marked(false), marked(true)), (word(counts), word(counts_with_network)), "{class:?}");
    }
}

#[test]
fn five_failures_in_a_row_open_it_and_are_its_evidence() {
    let mut one = One::tripped();
    assert_eq!((one.doc.cause, one.doc.changed_at), (Some(Cause::Failures), Some(at(5))));
    assert_eq!(one.doc.samples.iter().map(|s| s.attempt).collect::<Vec<_>>(), [1, 2, 3, 4, 5]);
    // Stragglers do not prolong it, nor does a success close it.
    let (before, pass) = (one.doc.clone(), one.pass());
    one.says(Mark::Failure, pass);
    one.says(Mark::Success, pass);
    assert_eq!(one.doc, before);
}

#[test]
fn one_success_in_between_begins_the_count_anew() {
    let mut one = One::new(Terms::default());
    for mark in [Mark::Failure, Mark::Failure, Mark::Failure, Mark::Failure, Mark::Success] {
        let pass = one.pass();
        one.says(mark, pass);
    }
    assert_eq!((&one.doc.circuit, one.doc.samples.len()), (&Circuit::Closed { failures: 0 }, 0));
    for failures in 1..5 {
        let pass = one.pass();
        assert_eq!(one.says(Mark::Failure, pass).circuit, Circuit::Closed { failures });
        assert_eq!(one.says(Mark::Neutral, pass).circuit, Circuit::Closed { failures });
    }
}

#[test]
fn evidence_is_the_last_eight() {
    let mut one = One::new(Terms { failure_threshold: 20, ..Terms::default() });
    for _ in 0..11 {
        let pass = one.pass();
        one.says(Mark::Failure, pass);
    }
    assert_eq!(one.doc.circuit, Circuit::Closed { failures: 11 });
    assert_eq!(one.doc.samples.iter().map(|s| s.attempt).collect::<Vec<_>>(), [4, 5, 6, 7, 8, 9, 10, 11]);
}

#[test]
fn half_open_lets_one_probe_through_and_two_successes_close_it() {
    let mut one = One::tripped();
    assert_eq!(one.asks("a", 1_800_004), Taken::Refused, "not due");
    let first = one.granted("a", 1_800_005);
    assert_eq!(
        (one.doc.cause, one.doc.circuit.state(at(1_800_005))),
        (Some(Cause::Due), CircuitState::HalfOpen)
    );
    for node in ["a", "b"] {
        assert_eq!(one.asks(node, 1_800_006), Taken::Refused, "one is out");
    }
    one.says(Mark::Success, first);
    assert_eq!(one.doc.circuit, Circuit::HalfOpen { successes: 1, permit: None });
    let second = one.granted("b", 1_800_010);
    // The first one's number is an old one.
    one.says(Mark::Failure, first);
    assert!(has_permit_out(&one.doc));
    one.says(Mark::Success, second);
    assert_eq!((&one.doc.circuit, one.doc.cause), (&Circuit::Closed { failures: 0 }, Some(Cause::Recovered)));
    assert_eq!(one.doc.samples.len(), 7, "what opened it and what closed it");
    assert_eq!(one.asks("a", 1_800_012), Taken::Unneeded(one.pass()));
    // The next failure begins with evidence of its own.
    let pass = one.pass();
    assert_eq!(one.says(Mark::Failure, pass).samples.len(), 1);
}

#[test]
fn a_failed_probe_opens_it_for_the_whole_time_again() {
    let mut one = One::tripped();
    let probe = one.granted("a", 1_900_000);
    one.says(Mark::Failure, probe);
    assert_eq!(one.doc.circuit, Circuit::Open { until: at(1_900_001 + 1_800_000) });
    assert_eq!((one.doc.cause, one.doc.samples.len()), (Some(Cause::ProbeFailed), 6));
}

#[test]
fn a_probe_that_says_nothing_gives_its_permit_back() {
    let mut one = One::tripped();
    let probe = one.granted("a", 1_800_005);
    one.says(Mark::Neutral, probe);
    assert_eq!(one.doc.circuit, Circuit::HalfOpen { successes: 0, permit: None });
    one.granted("b", 1_800_007);
}

#[test]
fn a_permit_whose_owner_is_gone_or_whose_time_is_over_is_free() {
    let mut one = One::tripped();
    one.granted("dead", 1_800_005);
    let second = one.granted("a", 1_800_006);
    assert_eq!(one.asks("b", 1_860_005), Taken::Refused);
    let third = one.granted("b", 1_860_006);
    // Late, and overtaken.
    one.says(Mark::Success, second);
    assert!(has_permit_out(&one.doc));
    // Late, but nobody took its place.
    one.now = 2_000_000;
    one.says(Mark::Success, third);
    assert_eq!(one.doc.circuit, Circuit::HalfOpen { successes: 1, permit: None });
}

#[test]
fn results_from_before_a_transition_count_for_nothing() {
    let mut one = One::new(Terms { failure_threshold: 2, ..Terms::default() });
    let early = one.pass();
    one.says(Mark::Failure, early);
    one.says(Mark::Failure, early);
    let probe = one.granted("a", 1_800_010);
    one.says(Mark::Success, early);
    one.says(Mark::Failure, early);
    assert!(has_permit_out(&one.doc));
    one.says(Mark::Success, probe);
    let probe = one.granted("a", 1_800_020);
    one.says(Mark::Success, probe);
    let closed = one.doc.clone();
    for pass in [early, probe] {
        one.says(Mark::Failure, pass);
        assert_eq!(one.doc, closed, "{pass:?}");
    }
    one.doc = reset(&one.doc, one.doc.terms, Cause::Reset, at(1_800_030), closed.version + 1);
    let after = one.doc.clone();
    let before_reset = Pass { seen: closed.version, fence: None };
    for _ in 0..3 {
        one.says(Mark::Failure, before_reset);
    }
    assert_eq!(one.doc, after);
}

#[test]
fn a_breaker_that_is_switched_off_counts_nothing_and_blocks_nobody() {
    let off = Terms { failure_threshold: 0, ..Terms::default() };
    let mut one = One::new(off);
    for _ in 0..20 {
        let pass = one.pass();
        one.says(Mark::Failure, pass);
    }
    assert_eq!(one.doc, CircuitDoc::fresh(A, off, 0));
    // One that is open when it is switched off is closed for whoever looks, and in the store with the next word.
    let mut one = One::tripped();
    let mut table = Table::default();
    table.put(one.doc.clone(), at(10));
    assert_eq!(table.standing(A, &Terms::default(), None, at(10)), Standing::Open { until: at(1_800_005) });
    assert_eq!(table.standing(A, &off, None, at(10)), Standing::Ready);
    let said = Report { terms: off, ..report(A.0, table.pass(), Mark::Failure) };
    assert!(table.is_news(&said, at(10)));
    one.doc = after_report(&one.doc, &said, at(10), one.doc.version + 1).unwrap();
    assert_eq!(
        (&one.doc.circuit, one.doc.cause),
        (&Circuit::Closed { failures: 0 }, Some(Cause::TermsChanged))
    );
    assert_eq!(one.doc.samples, []);
}

#[test]
fn other_settings_or_another_secret_void_all_state_and_old_attempts_do_not_bring_it_back() {
    let old = One::tripped();
    for terms in [
        Terms { failure_threshold: 6, ..Terms::default() },
        Terms { open_duration_ms: 1, ..Terms::default() },
        Terms { account: Terms::account_of(&[b"claude", b"https://one", b"sealed"]), ..Terms::default() },
    ] {
        let said = Report { terms, ..report(A.0, old.pass(), Mark::Failure) };
        let next = after_report(&old.doc, &said, at(100), 50_000).unwrap();
        assert_eq!((&next.circuit, next.generation), (&Circuit::Closed { failures: 1 }, 50_000));
        assert_eq!(next.samples.len(), 1);
        // Admitted under the old ones, before the change was known.
        let late = report(A.0, old.pass(), Mark::Failure);
        assert_eq!(after_report(&next, &late, at(101), 50_001), None);
        let ask = |seen| PermitAsk {
            provider_id: A,
            terms: Terms::default(),
            seen,
            node: "a".to_owned(),
            hold_ms: 1,
        };
        let is_there = |_: &str| true;
        assert_eq!(
            after_ask(&next, &ask(old.doc.version), at(101), 50_001, is_there),
            (Taken::Refused, None)
        );
        let (taken, dropped) =
            after_ask(&old.doc, &PermitAsk { terms, ..ask(old.doc.version) }, at(9), 60, is_there);
        assert_eq!(taken, Taken::Unneeded(Pass { seen: 60.max(old.doc.version), fence: None }));
        assert_eq!(dropped.unwrap().circuit, Circuit::Closed { failures: 0 });
    }
    let a = Terms::account_of(&[b"ab", b"c"]);
    assert_ne!(a, Terms::account_of(&[b"a", b"bc"]));
}

#[test]
fn smart_probing_ends_an_open_time_early_with_its_own_evidence() {
    let one = One::tripped();
    let seen = sample(99, Some(200), at(50));
    let next = probed(&one.doc, one.doc.generation, &seen, at(50), one.doc.version + 1).unwrap();
    assert_eq!(next.circuit, Circuit::HalfOpen { successes: 0, permit: None });
    assert_eq!((next.cause, next.samples.last()), (Some(Cause::Probed), Some(&seen)));
    assert_eq!(probed(&next, next.generation, &seen, at(51), 99_999), None, "it is not open any more");
    assert_eq!(probed(&one.doc, one.doc.generation - 1, &seen, at(51), 99_999), None, "it was another time");
    assert_eq!(probed(&doc(), 0, &seen, at(51), 99_999), None);
}

#[test]
fn a_merge_believes_the_later_generation_and_joins_cool_downs_within_one() {
    let kept = One::tripped().doc;
    let newer = reset(&kept, kept.terms, Cause::Reset, at(9), kept.version + 10);
    let number = newer.version + 1;
    assert_eq!(merged(&newer, &kept, at(10), number), None);
    assert_eq!(merged(&kept, &newer, at(10), number), Some(newer.clone().numbered(number)));
    let mut cooling = newer.clone();
    let ask = CoolAsk {
        kind: CoolKind::RateLimit,
        model: Some("m".to_owned()),
        first_ms: 5_000,
        longest_ms: 5_000,
        memory_ms: 0,
    };
    cooldown::set(&mut cooling.cooldowns, &ask, &sample(1, Some(429), at(10)), at(10), number);
    let joined = merged(&newer, &cooling, at(11), number + 1).unwrap();
    assert_eq!(joined.cooldowns, cooling.cooldowns);
    assert_eq!(merged(&joined, &cooling, at(12), number + 2), None, "told twice is told once");
    assert_eq!(merged(&newer, &cooling, at(5_010), number), None, "it is over");
}
