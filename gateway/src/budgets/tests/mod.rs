//! A node and its budgets, with the store of one process; the tests play the admin side.

mod bed;
mod escrow;

use super::{Answer, Held};
use bed::{Bed, USER, eventually, record};
use shared::journal::Draft;
use shared::ports::QuotaStore as _;
use shared::rules::quota::HoldId;
use shared::rules::quota::outage::OutagePolicy;
use std::path::Path;
use std::sync::atomic::Ordering;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_request_is_held_while_it_runs_and_charged_what_its_record_says_as_soon_as_it_has_ended() {
    let bed = Bed::governed(OutagePolicy::Bounded).await;
    bed.open(1, 5, 0).await;
    let request = bed.request();
    let held = bed.admitted(request, 40).await;
    assert!(held.at().is_some());
    bed.stands(1, 5, 40).await;
    bed.end(request, held, 7).await;
    bed.stands(1, 12, 0).await;
    let Answer::Admitted { hold: given_up, standing } = bed.ask(bed.request(), 60, true).await else {
        panic!("there is room")
    };
    assert_eq!((standing.windows[0].spent.0, standing.windows[0].held.0), (12, 60), "its own hold included");
    bed.stands(1, 12, 60).await;
    drop(given_up);
    bed.stands(1, 12, 0).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_request_waits_for_its_account_to_be_opened() {
    let bed = Bed::governed(OutagePolicy::Closed).await;
    let opening = async {
        loop {
            let wanted = bed.store.take_wanted(9).await.unwrap();
            if wanted == [USER] {
                return bed.open(1, 0, 0).await;
            }
            tokio::task::yield_now().await;
        }
    };
    let (answer, ()) = tokio::join!(bed.ask(bed.request(), 10, false), opening);
    assert!(matches!(answer, Answer::Admitted { hold, .. } if hold.at().is_some()));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_account_that_nobody_opens_is_decided_over_by_the_policy_after_two_seconds() {
    let bed = Bed::governed(OutagePolicy::Closed).await;
    assert!(matches!(bed.ask(bed.request(), 10, false).await, Answer::Unreachable));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nobody_is_refused_for_a_request_that_has_ended() {
    let bed = Bed::governed(OutagePolicy::Bounded).await;
    bed.open(1, 0, 0).await;
    for n in 0..50 {
        let request = bed.request();
        let held = bed.admitted(request, 100 - n).await;
        assert!(matches!(bed.ask(bed.request(), 100, false).await, Answer::Refused(_)), "it runs");
        // The next one is asked for at once.
        bed.end(request, held, 1).await;
    }
    bed.stands(1, 50, 0).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_given_up_is_not_in_the_way_of_the_next_request() {
    let bed = Bed::governed(OutagePolicy::Closed).await;
    bed.open(1, 0, 0).await;
    for _ in 0..50 {
        // The next one is asked for at once, whether the store has heard that this one came to nothing or not.
        drop(bed.admitted(bed.request(), 100).await);
    }
    bed.stands(1, 0, 0).await;
    // Nor where it was not heard at first.
    let held = bed.admitted(bed.request(), 100).await;
    bed.store.loses_releases.store(1, Ordering::SeqCst);
    drop(held);
    eventually("it is not heard", || bed.store.loses_releases.load(Ordering::SeqCst) == 0).await;
    drop(bed.admitted(bed.request(), 100).await);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_admission_whose_answer_was_lost_is_taken_back() {
    let bed = Bed::governed(OutagePolicy::Closed).await;
    bed.open(1, 0, 0).await;
    bed.store.loses_admissions.store(true, Ordering::SeqCst);
    assert!(matches!(bed.ask(bed.request(), 40, false).await, Answer::Unreachable));
    bed.stands(1, 0, 0).await;
    // Nor is one forgotten while the store is away.
    bed.store.loses_admissions.store(false, Ordering::SeqCst);
    let held = bed.admitted(bed.request(), 40).await;
    bed.cut(true);
    drop(held);
    bed.cut(false);
    bed.stands(1, 0, 0).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_name_that_was_given_up_holds_nothing_and_lets_nobody_in_by_the_store() {
    let bed = Bed::governed(OutagePolicy::Closed).await;
    bed.open(1, 0, 0).await;
    // The store has never had the question, and the word that gives it up; then the request comes back to the same provider.
    let request = bed.request();
    bed.store.release(USER, HoldId(request, 0)).await.unwrap();
    assert!(matches!(bed.ask(request, 10, true).await, Answer::Unreachable));
    bed.stands(1, 0, 0).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_the_store_a_node_spends_its_share_and_tells_it_when_the_store_is_back() {
    let bed = Bed::governed(OutagePolicy::Bounded).await;
    bed.open(1, 20, 0).await;
    let request = bed.request();
    let first = bed.admitted(request, 20).await;
    bed.end(request, first, 20).await;
    // The last word is of the admission: 20 spent, 20 held, 60 left, of which half is this node's.
    eventually("two nodes are counted", || bed.budgets.nodes.load(Ordering::Relaxed) == 2).await;
    bed.stands(1, 40, 0).await;
    bed.cut(true);
    let request = bed.request();
    let alone = bed.admitted(request, 20).await;
    assert_eq!(alone.at(), None);
    assert!(matches!(bed.ask(bed.request(), 11, false).await, Answer::UsedUp(_)));
    assert!(matches!(bed.ask(bed.request(), 1, true).await, Answer::Unreachable), "what is strict waits");
    let running = bed.admitted(bed.request(), 10).await;
    bed.end(request, alone, 15).await;
    bed.cut(false);
    // What ended is spent, what runs is held.
    bed.stands(1, 55, 10).await;
    drop(running);
    bed.stands(1, 55, 0).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_let_in_alone_and_came_to_nothing_is_not_held_for_long() {
    let bed = Bed::governed(OutagePolicy::Open).await;
    bed.open(1, 0, 0).await;
    bed.cut(true);
    let request = bed.request();
    let alone = bed.admitted(request, 30).await;
    bed.cut(false);
    bed.stands(1, 0, 30).await;
    bed.end(request, alone, 0).await;
    bed.stands(1, 0, 0).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_store_that_has_lost_everything_is_told_what_is_under_way_and_what_the_books_do_not_have() {
    let bed = Bed::governed(OutagePolicy::Bounded).await;
    bed.open(1, 0, 0).await;
    let mut ended = 0;
    for cost in [3, 4, 5] {
        let request = bed.request();
        let held = bed.admitted(request, 10).await;
        bed.end(request, held, cost).await;
        ended += cost;
    }
    bed.stands(1, ended, 0).await;
    // The first is in the books; the node does not know it yet.
    let running = bed.admitted(bed.request(), 20).await;
    bed.store.begin(2).await.unwrap();
    bed.declares(2).await;
    bed.open(2, 3, 1).await;
    bed.stands(2, ended, 20).await;
    drop(running);
    bed.stands(2, ended, 0).await;
    assert!(bed.admitted(bed.request(), 50).await.at().is_some());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_goes_that_is_in_the_books_and_not_told() {
    let root = tempfile::tempdir().unwrap();
    let bed = Bed::start(OutagePolicy::Open, Some(root.path().to_owned())).await;
    bed.store.begin(1).await.unwrap();
    bed.govern(1);
    bed.declares(1).await;
    // Its account is not open.
    for cost in [3, 4] {
        bed.journal.end(&record(bed.request(), None, cost)).await;
    }
    eventually("they are handed over", || bed.usage.waiting() == 2).await;
    bed.usage.discard(2);
    eventually("they are booked", || bed.journal.marks().unbooked() == 0).await;
    assert!(bed.journal.marks().told() == 0);
    bed.open(1, 0, 0).await;
    bed.stands(1, 7, 0).await;
    eventually("they may go", || bed.journal.marks().told() == 2).await;
    bed.stop().await;
    assert_eq!(
        std::fs::read_dir(root.path()).unwrap().flatten().filter(|it| it.path().is_dir()).count(),
        0,
        "and go at the end"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_journal_that_cannot_be_read_holds_up_no_new_epoch() {
    let root = tempfile::tempdir().unwrap();
    let bed = Bed::governed_at(OutagePolicy::Open, Some(root.path())).await;
    bed.open(1, 0, 0).await;
    let request = bed.request();
    let held = bed.admitted(request, 10).await;
    bed.end(request, held, 4).await;
    bed.stands(1, 4, 0).await;
    // Handed over and told, and not booked: the disk alone has it.
    eventually("it is handed over", || bed.usage.waiting() == 1).await;
    let directory = root.path().join(bed.journal.id().to_string());
    let segments = std::fs::read_dir(&directory).unwrap().map(|entry| entry.unwrap().path());
    for segment in segments.filter(|path| path.extension().is_some_and(|extension| extension == "seg")) {
        std::fs::remove_file(&segment).unwrap();
        std::fs::create_dir(&segment).unwrap();
    }
    let running = bed.admitted(bed.request(), 20).await;
    bed.store.begin(2).await.unwrap();
    bed.declares(2).await;
    bed.open(2, 4, 1).await;
    bed.stands(2, 4, 20).await;
    drop(running);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_comes_under_limits_is_told_what_the_books_did_not_have_then() {
    let bed = Bed::start(OutagePolicy::Open, None).await;
    bed.store.begin(1).await.unwrap();
    bed.govern(0);
    bed.declares(1).await;
    for cost in [1, 2, 4, 8] {
        bed.journal.end(&record(bed.request(), None, cost)).await;
    }
    eventually("they are handed over", || bed.usage.waiting() == 4).await;
    assert_eq!(bed.store.told.load(Ordering::SeqCst), 0, "nothing is limited: nothing is said");
    bed.usage.discard(2);
    eventually("two are booked", || bed.journal.marks().unbooked() == 2).await;
    eventually("nobody is to be told", || bed.journal.marks().told() == u64::MAX).await;
    bed.govern(1);
    eventually("it is noticed", || bed.journal.marks().told() == 2).await;
    // Another one was booked until the account was opened.
    bed.open(1, 1 + 2 + 4, 3).await;
    bed.stands(1, 15, 0).await;
    bed.govern(0);
    eventually("nobody is told any more", || bed.journal.marks().told() == u64::MAX).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_an_account_that_is_not_open_owes_is_put_aside_under_each_of_its_generations() {
    let bed = Bed::governed(OutagePolicy::Open).await;
    bed.journal.end(&record(bed.request(), None, 4)).await;
    bed.stands(1, 0, 4).await;
    bed.govern(2);
    let told = bed.store.told.load(Ordering::SeqCst);
    eventually("it is told again", || bed.store.told.load(Ordering::SeqCst) > told + 2).await;
    bed.cut(true);
    bed.open(1, 0, 0).await;
    bed.stands(1, 0, 4).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_configuration_that_is_confirmed_later_is_gone_by_at_once() {
    let bed = Bed::start(OutagePolicy::Open, None).await;
    for generation in [1, 0] {
        bed.starts_by(generation);
        eventually("it is noticed", || bed.budgets.tellings.governed().is_empty() == (generation == 0)).await;
    }
    assert_eq!(bed.journal.marks().told(), 0, "it may be old: nobody knows who is to be told");
    bed.confirms();
    eventually("nobody is to be told", || bed.journal.marks().told() == u64::MAX).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_dead_process_left_is_told_before_it_goes_and_nothing_is_held_for_it_then() {
    let root = tempfile::tempdir().unwrap();
    let dead = Bed::governed_at(OutagePolicy::Open, Some(root.path())).await;
    let id = dead.journal.id();
    dead.open(1, 0, 0).await;
    let (ended, cut, never_began) = (dead.request(), dead.request(), dead.request());
    let mut held = Vec::new();
    for (request, need) in [(ended, 10), (cut, 20), (never_began, 30)] {
        let mut hold = dead.admitted(request, need).await;
        hold.keep();
        held.push(hold);
    }
    dead.cut(true);
    dead.journal.end(&record(ended, held[0].at(), 4)).await;
    // What its begin says is booked of it.
    let begin = record(cut, held[1].at(), 6);
    dead.journal.begin(cut, Draft::of_bytes(&begin.to_bytes().unwrap())).await;
    // Whoever holds one has the journal open.
    drop(held);
    let store = dead.die().await;
    store.is_away.store(false, Ordering::SeqCst);

    let heir = Bed::start_on(OutagePolicy::Open, Some(root.path().to_owned()), store).await;
    heir.govern(1);
    heir.declares(1).await;
    // The hold of what never began stays until all is booked.
    heir.stands(1, 10, 30).await;
    assert!(root.path().join(id.to_string()).exists());
    let until_gone = || {
        heir.usage.discard(9);
        !root.path().join(id.to_string()).exists()
    };
    eventually("its journal goes", until_gone).await;
    heir.stands(1, 10, 0).await;
    assert!(heir.store.gone.lock().unwrap().contains(&id));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_dead_journal_is_in_hands_when_all_of_it_is_declared_to_those_who_are_surely_governed() {
    let root = tempfile::tempdir().unwrap();
    let dead = Bed::governed_at(OutagePolicy::Open, Some(root.path())).await;
    let id = dead.journal.id();
    dead.open(1, 0, 0).await;
    let (ended, cut) = (dead.request(), dead.request());
    let mut held = Vec::new();
    for request in [ended, cut] {
        let mut hold = dead.admitted(request, 20).await;
        hold.keep();
        held.push(hold);
    }
    dead.cut(true);
    dead.journal.end(&record(ended, held[0].at(), 4)).await;
    let begin = record(cut, held[1].at(), 6);
    dead.journal.begin(cut, Draft::of_bytes(&begin.to_bytes().unwrap())).await;
    drop(held);
    let store = dead.die().await;
    store.is_away.store(false, Ordering::SeqCst);
    // The store has lost everything.
    store.begin(2).await.unwrap();

    let heir = Bed::start_on(OutagePolicy::Open, Some(root.path().to_owned()), store).await;
    heir.starts_by(1);
    heir.declares(2).await;
    eventually("it is adopted", || heir.journal.marks().last() > 0).await;
    let own = heir.journal.id();
    assert_eq!(heir.budgets.journals(Some(2), &[]), [own], "its configuration may be old");
    heir.govern(1);
    eventually("it is in hands", || heir.budgets.journals(Some(2), &[]) == [own, id]).await;
    heir.cut(true);
    assert_eq!(heir.budgets.journals(Some(1), &[]), [own], "under another epoch");
    heir.open(2, 0, 0).await;
    let window = heir.window(2).await;
    assert_eq!(window.spent.0 + window.held.0, 10, "{window:?}");
    assert!(heir.journal.scan().borrow().as_ref().is_some_and(|scan| scan.there.contains(&id)));
    // Another user comes under limits: what is in it is looked at once more.
    heir.govern(2);
    heir.budgets.notice();
    assert_eq!(heir.budgets.journals(Some(2), &[]), [own]);
}

/// A process dies with a request that has ended and is not told, and with one that never began; the other that adopts its journal
/// books it all. Nothing of it is open at the start, and the books have it then.
async fn all_is_booked_of_a_dead_process(root: &Path, is_governed: bool) -> Bed {
    let dead = Bed::governed_at(OutagePolicy::Open, Some(root)).await;
    let id = dead.journal.id();
    dead.open(1, 0, 0).await;
    let ended = dead.request();
    let mut held = [dead.admitted(ended, 10).await, dead.admitted(dead.request(), 30).await];
    held.iter_mut().for_each(Held::keep);
    dead.cut(true);
    dead.journal.end(&record(ended, held[0].at(), 4)).await;
    drop(held);
    let store = dead.die().await;
    // Who is governed is known before the store answers, or the other way round.
    store.is_away.store(is_governed, Ordering::SeqCst);
    let heir = Bed::start_on(OutagePolicy::Open, Some(root.to_owned()), store).await;
    match is_governed {
        true => heir.govern(1),
        // What is kept on its disk is older than the limits.
        false => heir.starts_by(0),
    }
    eventually("it is adopted and handed over", || {
        heir.usage.waiting() == 1 && heir.budgets.figures().untold == 1
    })
    .await;
    heir.usage.discard(1);
    eventually("it is booked", || heir.budgets.figures().untold == 0).await;
    assert!(root.join(id.to_string()).exists(), "nothing goes yet");
    heir
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_dead_process_left_is_told_although_nobody_knew_who_is_governed_when_it_was_booked() {
    let root = tempfile::tempdir().unwrap();
    let heir = all_is_booked_of_a_dead_process(root.path(), false).await;
    heir.declares(1).await;
    heir.govern(1);
    heir.stands(1, 4, 0).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_dead_process_left_is_told_under_the_epoch_it_died_in_although_the_books_have_it() {
    let root = tempfile::tempdir().unwrap();
    let heir = all_is_booked_of_a_dead_process(root.path(), true).await;
    heir.cut(false);
    heir.stands(1, 4, 0).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_that_stops_leaves_no_hold_behind() {
    let bed = Bed::governed(OutagePolicy::Bounded).await;
    bed.open(1, 0, 0).await;
    let request = bed.request();
    let held = bed.admitted(request, 40).await;
    let given_up = bed.admitted(bed.request(), 20).await;
    bed.end(request, held, 9).await;
    drop(given_up);
    eventually("it is handed over", || bed.usage.waiting() == 1).await;
    bed.usage.discard(1);
    let store = bed.stop().await;
    let heir = Bed::start_on(OutagePolicy::Bounded, None, store).await;
    heir.govern(1);
    heir.stands(1, 9, 0).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_held_for_a_process_that_has_written_nothing_is_given_back_once_it_is_dead() {
    let root = tempfile::tempdir().unwrap();
    let dead = Bed::governed_at(OutagePolicy::Open, Some(root.path())).await;
    dead.open(1, 0, 0).await;
    // It waits for a provider's budget, say: nothing is begun.
    let mut held = dead.admitted(dead.request(), 30).await;
    held.keep();
    drop(held);
    let store = dead.die().await;
    let heir = Bed::start_on(OutagePolicy::Open, Some(root.path().to_owned()), store).await;
    heir.govern(1);
    heir.stands(1, 0, 0).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_dead_process_held_is_given_back_once_all_is_told_though_the_books_are_away() {
    let root = tempfile::tempdir().unwrap();
    let dead = Bed::governed_at(OutagePolicy::Open, Some(root.path())).await;
    dead.open(1, 0, 0).await;
    let ended = dead.request();
    let mut held = [dead.admitted(ended, 10).await, dead.admitted(dead.request(), 30).await];
    held.iter_mut().for_each(Held::keep);
    dead.journal.end(&record(ended, held[0].at(), 4)).await;
    drop(held);
    let store = dead.die().await;
    let heir = Bed::start_on(OutagePolicy::Open, Some(root.path().to_owned()), store).await;
    heir.govern(1);
    heir.stands(1, 4, 0).await;
    assert_eq!(heir.usage.waiting(), 1, "nothing is booked");
    assert_eq!(heir.store.gone.lock().unwrap().len(), 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_process_could_not_give_back_at_its_stop_the_next_one_gives_back() {
    let root = tempfile::tempdir().unwrap();
    let bed = Bed::governed_at(OutagePolicy::Open, Some(root.path())).await;
    let id = bed.journal.id();
    bed.open(1, 0, 0).await;
    let given_up = bed.admitted(bed.request(), 30).await;
    bed.cut(true);
    drop(given_up);
    let store = bed.stop().await;
    assert!(root.path().join(id.to_string()).exists(), "it is all that says for whom something is held");
    store.is_away.store(false, Ordering::SeqCst);
    let heir = Bed::start_on(OutagePolicy::Open, Some(root.path().to_owned()), store).await;
    heir.govern(1);
    heir.stands(1, 0, 0).await;
    eventually("its journal goes", || !root.path().join(id.to_string()).exists()).await;
    let store = heir.stop().await;
    assert_eq!(store.gone.lock().unwrap().len(), 1);
    let left = std::fs::read_dir(root.path()).unwrap().flatten().filter(|entry| entry.path().is_dir());
    assert_eq!(left.count(), 0, "nothing is held, nothing stays");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn operators_see_what_asks_came_to_what_is_held_and_what_the_store_was_not_told() {
    let bed = Bed::governed(OutagePolicy::Bounded).await;
    bed.open(1, 20, 0).await;
    let request = bed.request();
    let held = bed.admitted(request, 40).await;
    assert!(matches!(bed.ask(bed.request(), 41, false).await, Answer::Refused(_)));
    let figures = bed.budgets.figures();
    assert_eq!((figures.holds, figures.held.0, figures.untold), (1, 40, 0));
    assert!(figures.does_store_answer);
    bed.cut(true);
    eventually("the store is seen to be away", || !bed.budgets.figures().does_store_answer).await;
    bed.end(request, held, 40).await;
    let alone = bed.admitted(bed.request(), 5).await;
    assert!(matches!(bed.ask(bed.request(), 40, false).await, Answer::UsedUp(_)));
    assert!(matches!(bed.ask(bed.request(), 1, true).await, Answer::Unreachable));
    eventually("what has ended is read, and stays untold", || {
        let figures = bed.budgets.figures();
        (figures.holds, figures.held.0, figures.untold) == (1, 5, 1)
    })
    .await;
    let asks =
        [("drawn", 0), ("admitted", 1), ("refused", 1), ("alone", 1), ("used_up", 1), ("unreachable", 1)];
    assert_eq!(bed.budgets.figures().asks, asks);
    bed.cut(false);
    bed.stands(1, 60, 5).await;
    drop(alone);
    eventually("nothing is left to tell", || {
        let figures = bed.budgets.figures();
        (figures.holds, figures.untold, figures.does_store_answer) == (0, 0, true)
    })
    .await;
}
