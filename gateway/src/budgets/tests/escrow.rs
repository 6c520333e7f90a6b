//! Money put aside ahead.

use super::bed::{Bed, LIMIT, USER, eventually, windows};
use super::{Answer, OutagePolicy};
use shared::ids::RequestId;
use shared::ports::QuotaStore as _;
use shared::rules::quota::{WindowNow, epoch_of};
use std::path::Path;
use std::sync::atomic::Ordering;

/// A node whose requests came so close upon each other that something is put aside ahead: eight were asked, and a ninth.
async fn busy() -> Bed {
    busy_at(None).await
}

/// The same with its journal in this directory.
async fn busy_at(root: Option<&Path>) -> Bed {
    let bed = Bed::governed_at(OutagePolicy::Bounded, root).await;
    bed.open(1, 0, 0).await;
    requests(&bed, 9).await;
    assert!(bed.window(1).await.escrowed.0 > 0);
    bed
}

/// So many requests of a nano, one after the other.
async fn requests(bed: &Bed, count: u32) {
    for _ in 0..count {
        let request = bed.request();
        let held = bed.admitted(request, 1).await;
        bed.end(request, held, 1).await;
    }
}

fn asked(bed: &Bed) -> usize {
    bed.store.asked.load(Ordering::SeqCst)
}

async fn gives_all_back(bed: &Bed) {
    bed.store.recall(USER).await.unwrap();
    let is_back = async {
        loop {
            let WindowNow { escrowed, held, .. } = bed.window(1).await;
            if (escrowed.0, held.0) == (0, 0) {
                return;
            }
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(super::bed::PATIENCE, is_back).await.expect("it comes back in time");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn requests_that_come_close_upon_each_other_are_asked_for_together_and_charged_each() {
    let bed = busy().await;
    let before = asked(&bed);
    // Before half of it is gone, which is when more is asked for.
    requests(&bed, 8).await;
    assert_eq!(asked(&bed), before, "all from what was put aside");
    let figures = bed.budgets.figures();
    assert!(figures.escrowed.0 > 0);
    assert_eq!(figures.asks[..2], [("drawn", 8), ("admitted", 9)]);
    assert_eq!(figures.calls[0], ("admit", 9));
    gives_all_back(&bed).await;
    bed.stands(1, 17, 0).await;
    assert_eq!(bed.budgets.figures().escrowed.0, 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_one_node_has_put_aside_another_gets_before_it_refuses_anybody() {
    let one = busy().await;
    let two = Bed::beside(&one).await;
    let left = LIMIT - 9;
    let held = two.admitted(two.request(), left).await;
    assert!(matches!(one.ask(one.request(), 1, false).await, Answer::Refused(_)), "now it is used up");
    drop(held);
    gives_all_back(&one).await;
    one.stands(1, 9, 0).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_is_refused_where_other_nodes_have_nothing_put_aside_waits_for_nobody() {
    let bed = busy().await;
    // 9 are spent and 5 promised: 86 are left, all of them once what is free has come back.
    let running = bed.admitted(bed.request(), 5).await;
    assert!(matches!(bed.ask(bed.request(), 87, false).await, Answer::Refused(_)));
    let all_the_rest = bed.admitted(bed.request(), 86).await;
    drop((running, all_the_rest));
    bed.stands(1, 9, 0).await;
    assert_eq!(bed.store.recalled.load(Ordering::SeqCst), 0, "nobody is asked");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_runs_at_another_node_is_waited_for_only_where_its_end_makes_room() {
    let one = busy().await;
    let running = one.admitted(one.request(), 5).await;
    let two = Bed::beside(&one).await;
    let refused = async |need| {
        let before = (asked(&one), one.store.recalled.load(Ordering::SeqCst));
        assert!(matches!(two.ask(two.request(), need, false).await, Answer::Refused(_)));
        (asked(&one) - before.0, one.store.recalled.load(Ordering::SeqCst) - before.1)
    };
    assert_eq!(refused(92).await, (1, 0), "9 are spent: not even all of it back is enough");
    assert_eq!(refused(91).await, (4, 3), "5 of it run");
    drop(running);
    gives_all_back(&one).await;
    assert!(matches!(two.ask(two.request(), 91, false).await, Answer::Admitted { .. }));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_drawn_and_given_up_costs_nobody_anything() {
    let bed = busy().await;
    let before = asked(&bed);
    drop(bed.admitted(bed.request(), 5).await);
    assert_eq!(asked(&bed), before);
    gives_all_back(&bed).await;
    bed.stands(1, 9, 0).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_store_that_loses_everything_is_told_of_what_was_drawn_and_nothing_more_is() {
    let bed = busy().await;
    let running: (RequestId, _) = (bed.request(), bed.admitted(bed.request(), 0).await);
    let request = bed.request();
    let drawn = bed.admitted(request, 5).await;
    let before = asked(&bed);
    bed.store.begin(2).await.unwrap();
    bed.declares(2).await;
    bed.open(2, 9, 9).await;
    // What was put aside under the epoch before is worth nothing.
    let asked_again = bed.admitted(bed.request(), 1).await;
    assert!(asked(&bed) > before);
    bed.stands(2, 9, 6).await;
    bed.end(request, drawn, 3).await;
    drop((running, asked_again));
    bed.stands(2, 12, 0).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_strict_budget_goes_on_without_the_store_with_what_it_holds_and_no_further() {
    let bed = busy().await;
    bed.cut(true);
    eventually("it is seen to be away", || !bed.budgets.figures().does_store_answer).await;
    assert!(matches!(bed.ask(bed.request(), 1, true).await, Answer::Admitted { .. }));
    assert!(matches!(bed.ask(bed.request(), LIMIT / 2, true).await, Answer::Unreachable));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_that_stops_leaves_nothing_put_aside() {
    let bed = busy().await;
    let store = bed.store.clone();
    bed.stop().await;
    let windows = super::bed::windows(&store, 1).await;
    assert!(windows.iter().all(|window| (window.spent.0, window.held.0) == (9, 0)), "{windows:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_put_aside_ahead_at_a_stop_goes_back_or_the_journal_stays_for_whoever_gives_it_back() {
    for is_away in [false, true] {
        let root = tempfile::tempdir().unwrap();
        let bed = busy_at(Some(root.path())).await;
        let journal = root.path().join(bed.journal.id().to_string());
        eventually("all is told and handed over", || {
            bed.journal.marks().told() == 9 && bed.usage.waiting() == 9
        })
        .await;
        bed.usage.discard(9);
        eventually("all is booked", || bed.journal.marks().unbooked() == 0).await;
        assert!(bed.window(1).await.escrowed.0 > 0);
        bed.cut(is_away);
        let store = bed.stop().await;
        assert_eq!(journal.exists(), is_away);
        let escrowed = windows(&store, epoch_of(1, 1)).await[0].escrowed;
        assert_eq!(escrowed.0 > 0, is_away);
    }
}
