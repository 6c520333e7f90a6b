use super::*;
use crate::testing::conformance::journal;
use crate::testing::node_beat;

/// An admin side, and what it keeps.
#[derive(Default)]
struct Side {
    custody: Custody,
    kept: Journals,
    is_in_process: bool,
}

const START: i64 = 1_790_000_000_000;

impl Side {
    /// Another one, or the same one started anew.
    fn restarted(self) -> Self {
        Self { custody: Custody::default(), ..self }
    }

    fn looks(&mut self, at_ms: u64, nodes: &[NodeBeat]) -> Look {
        let moment = Moment { now: at(at_ms), ticks_ms: at_ms, is_in_process: self.is_in_process };
        let look = self.custody.look(&self.kept, nodes, moment);
        for (journal, kept) in &look.changes {
            match kept {
                Some(kept) => self.kept.insert(*journal, kept.clone()),
                None => self.kept.remove(journal),
            };
        }
        look
    }

    /// Which one it waits for.
    fn misses(&mut self, at_ms: u64, nodes: &[NodeBeat]) -> Option<JournalId> {
        self.looks(at_ms, nodes).missing
    }
}

fn at(at_ms: u64) -> UnixMillis {
    UnixMillis(START).plus_ms(at_ms)
}

/// A gateway with these journals, the first of which is its own.
fn gateway(journals: &[u8]) -> NodeBeat {
    let journals: Vec<_> = journals.iter().map(|n| journal(*n)).collect();
    let id = journals[0].to_string();
    NodeBeat { journal_root: Some("root".to_owned()), journals: Some(journals), ..node_beat(&id) }
}

/// That has found these in its root.
fn finds(node: NodeBeat, there: &[u8], at_ms: u64) -> NodeBeat {
    let there = there.iter().map(|n| journal(*n)).collect();
    NodeBeat { journals_there: Some(there), scanned_at: Some(at(at_ms)), ..node }
}

/// That adopts these.
fn adopts(node: NodeBeat, adopted: &[u8]) -> NodeBeat {
    NodeBeat { journals_adopted: Some(adopted.iter().map(|n| journal(*n)).collect()), ..node }
}

fn left(node: NodeBeat) -> NodeBeat {
    NodeBeat { kind: NodeKind::Left, journals: Some(Vec::new()), revision: None, ..node }
}

#[test]
fn a_journal_is_waited_for_until_its_successor_has_it_in_hands() {
    let mut side = Side::default();
    assert_eq!(side.misses(0, &[gateway(&[1])]), None);
    assert_eq!(side.looks(1_000, &[gateway(&[1])]), Look::default(), "nothing is written that is known");
    let alone = finds(gateway(&[2]), &[1, 2], 1_500);
    assert_eq!(side.misses(2_000, &[]), Some(journal(1)));
    let mut side = side.restarted();
    for at_ms in [3_000, 4_000] {
        assert_eq!(side.misses(at_ms, std::slice::from_ref(&alone)), Some(journal(1)));
    }
    assert_eq!(side.misses(5_000, &[finds(gateway(&[2, 1]), &[1, 2], 1_500)]), None);
    assert_eq!(side.kept[&journal(1)].missing_since, None);
    // Its successor goes as well.
    assert_eq!(side.misses(6_000, &[]), Some(journal(1)));
    assert_eq!(side.misses(7_000, &[gateway(&[3, 1])]), Some(journal(2)));
}

#[test]
fn a_journal_that_a_look_at_its_root_does_not_find_is_gone() {
    let mut side = Side::default();
    side.looks(0, &[gateway(&[1])]);
    assert_eq!(side.misses(1_000, &[]), Some(journal(1)));
    let looked = |at_ms| finds(gateway(&[2]), &[2], at_ms);
    assert_eq!(side.misses(2_000, &[looked(2_999)]), Some(journal(1)), "it may have lived then");
    let elsewhere = NodeBeat { journal_root: Some("another".to_owned()), ..looked(9_000) };
    assert_eq!(side.misses(2_500, &[elsewhere]), Some(journal(1)));
    let has_none = NodeBeat { journal_root: None, ..looked(9_000) };
    assert_eq!(side.misses(2_500, &[has_none]), Some(journal(1)));
    assert_eq!(side.misses(3_000, &[looked(3_000)]), None);
    assert!(!side.kept.contains_key(&journal(1)));
}

#[test]
fn in_one_process_any_look_at_the_root_is_one_after_its_predecessor() {
    let mut side = Side { is_in_process: true, ..Side::default() };
    side.looks(0, &[gateway(&[1])]);
    let mut side = side.restarted();
    assert_eq!(side.misses(10, &[gateway(&[2])]), Some(journal(1)), "it has not looked yet");
    assert_eq!(side.misses(20, &[finds(gateway(&[2]), &[1, 2], 5)]), Some(journal(1)));
    assert_eq!(side.misses(30, &[finds(gateway(&[2]), &[2], 5)]), None);
}

#[test]
fn a_journal_that_nobody_finds_is_given_up_after_a_while() {
    let mut side = Side::default();
    side.looks(0, &[gateway(&[1]), gateway(&[2])]);
    for at_ms in (1_000..16_000).step_by(1_000) {
        let look = side.looks(at_ms, &[gateway(&[2])]);
        assert_eq!((look.missing, look.given_up), (Some(journal(1)), vec![]), "{at_ms}");
    }
    let look = side.looks(16_000, &[gateway(&[2])]);
    assert_eq!((look.missing, look.given_up), (None, vec![journal(1)]));
    // Another side that started later waits for it still, or it could not be written.
    side.kept.insert(journal(1), Kept::default());
    let look = side.looks(17_000, &[gateway(&[2])]);
    assert_eq!((look.missing, look.given_up, side.kept.len()), (None, vec![], 1));
    // It is back, and then gone again.
    assert_eq!(side.misses(18_000, &[gateway(&[2, 1])]), None);
    assert_eq!(side.misses(19_000, &[gateway(&[2])]), Some(journal(1)));
}

#[test]
fn one_that_a_living_gateway_adopts_is_waited_for_longer() {
    let mut side = Side::default();
    side.looks(0, &[gateway(&[1]), gateway(&[2])]);
    let adopts = adopts(finds(gateway(&[2]), &[1, 2], 0), &[1]);
    for at_ms in (1_000..601_000).step_by(1_000) {
        assert_eq!(side.misses(at_ms, std::slice::from_ref(&adopts)), Some(journal(1)), "{at_ms}");
    }
    assert_eq!(side.looks(601_000, &[adopts]).given_up, [journal(1)]);
}

#[test]
fn who_dies_while_another_s_journal_is_adopted_is_waited_for_as_ever() {
    let mut side = Side::default();
    let adopts = adopts(finds(gateway(&[2]), &[1, 2, 3], 0), &[1]);
    side.looks(0, &[gateway(&[1]), gateway(&[2]), gateway(&[3])]);
    for at_ms in (1_000..120_000).step_by(1_000) {
        side.looks(at_ms, &[adopts.clone(), gateway(&[3])]);
    }
    for at_ms in (120_000..135_000).step_by(1_000) {
        assert_eq!(side.looks(at_ms, std::slice::from_ref(&adopts)).given_up, [], "{at_ms}");
        assert!(side.kept.contains_key(&journal(3)));
    }
    assert_eq!(side.looks(135_000, &[adopts]).given_up, [journal(3)]);
}

#[test]
fn one_that_only_lies_there_locked_is_its_own_process_s() {
    let mut side = Side::default();
    // It has never been heard: it cannot reach the registry, and so holds nothing.
    let finds = |at_ms| finds(gateway(&[1]), &[1, 7], at_ms);
    for at_ms in (0..15_000).step_by(1_000) {
        assert_eq!(side.misses(at_ms, &[finds(at_ms)]), Some(journal(7)), "{at_ms}");
    }
    assert_eq!(side.looks(15_000, &[finds(15_000)]).given_up, [journal(7)]);
}

#[test]
fn gateways_that_adopt_and_die_one_after_the_other_hold_up_nobody_for_ever() {
    let mut side = Side::default();
    side.looks(0, &[gateway(&[100]), gateway(&[1])]);
    for second in 1..601_u64 {
        // Each lives for four seconds, adopts the one before and takes it in hands no more than that.
        let life = u8::try_from(second / 4).unwrap();
        let now = adopts(gateway(&[101 + life]), &[100 + life]);
        side.looks(second * 1_000, &[gateway(&[99]), now]);
    }
    let look = side.looks(601_000, &[gateway(&[99])]);
    assert_eq!(look.missing, None, "{look:?}");
}

#[test]
fn gateways_that_die_one_after_the_other_hold_up_nobody_for_ever() {
    let mut side = Side::default();
    let mut given_up = 0;
    for second in 0..62_u8 {
        // Each lives for ten seconds, and nobody finds its journal.
        let at_ms = u64::from(second) * 1_000;
        let look = side.looks(at_ms, &[gateway(&[100]), gateway(&[1 + second / 10])]);
        given_up += look.given_up.len();
        // The first is missing from the tenth on; so one or another is until the seventieth.
        assert_eq!(look.missing.is_some(), second >= 10, "{second}");
    }
    assert!(given_up >= 2);
    for second in 62..70_u8 {
        side.looks(u64::from(second) * 1_000, &[gateway(&[100])]);
    }
    let look = side.looks(70_000, &[gateway(&[100])]);
    assert_eq!((look.missing, side.kept.len()), (None, 1), "{look:?}");
}

#[test]
fn time_in_which_nobody_could_be_seen_does_not_count() {
    let mut side = Side::default();
    side.looks(0, &[gateway(&[1])]);
    assert_eq!(side.misses(1_000, &[]), Some(journal(1)));
    // The registry did not answer meanwhile.
    assert_eq!(side.misses(60_000, &[]), Some(journal(1)));
    let mut side = side.restarted();
    assert_eq!(side.misses(90_000, &[]), Some(journal(1)));
}

#[test]
fn who_stops_and_leaves_nothing_holds_up_nobody() {
    let mut side = Side::default();
    side.looks(0, &[gateway(&[1]), gateway(&[2])]);
    let beats = [left(gateway(&[1])), finds(gateway(&[2]), &[1, 2], 0)];
    assert_eq!(side.misses(1_000, &beats), None, "another had looked before");
    assert_eq!(side.misses(12_000, &[gateway(&[2])]), None);
    assert_eq!(side.kept.len(), 1);
    // What it leaves is waited for.
    side.looks(13_000, &[gateway(&[2, 3])]);
    assert_eq!(side.misses(14_000, &[left(gateway(&[2]))]), Some(journal(3)));
}

#[test]
fn what_an_adopter_has_taken_away_holds_up_nobody() {
    let mut side = Side::default();
    side.looks(0, &[finds(gateway(&[1, 9]), &[1, 9], 0)]);
    assert_eq!(side.misses(1_000, &[finds(gateway(&[1]), &[1, 9], 0)]), Some(journal(9)), "a new epoch");
    assert_eq!(side.misses(2_000, &[finds(gateway(&[1, 9]), &[1, 9], 0)]), None);
    assert_eq!(side.misses(3_000, &[finds(gateway(&[1]), &[1], 2_500)]), None);
    assert_eq!(side.kept.len(), 1);
}

#[test]
fn what_was_left_while_nobody_looked_is_waited_for() {
    let mut side = Side::default();
    assert_eq!(side.misses(0, &[gateway(&[1])]), None, "it has not looked yet");
    assert_eq!(side.misses(1_000, &[finds(gateway(&[1]), &[1, 7], 500)]), Some(journal(7)));
    assert_eq!(side.misses(2_000, &[finds(gateway(&[1, 7]), &[1, 7], 500)]), None);
    // Of one that comes later its own process tells,
    assert_eq!(side.misses(3_000, &[finds(gateway(&[1, 7]), &[1, 7, 8], 2_500)]), None);
    // unless it came and went while the registry was away: whoever comes then finds it.
    let heir = finds(gateway(&[9]), &[8, 9], 8_000);
    assert_eq!(side.misses(9_000, &[finds(gateway(&[1, 7]), &[1, 7, 8], 8_500), heir]), Some(journal(8)));
}

#[test]
fn a_gateway_of_an_earlier_release_has_its_own_journal() {
    let mut side = Side::default();
    let old = NodeBeat { journals: None, journal_root: None, ..gateway(&[1]) };
    side.looks(0, &[old]);
    assert_eq!(side.misses(1_000, &[gateway(&[2])]), Some(journal(1)));
    assert_eq!(side.misses(2_000, &[gateway(&[2, 1])]), None);
    assert_eq!(side.kept[&journal(1)].root.as_deref(), Some("root"), "it is known by then where it is");
}
