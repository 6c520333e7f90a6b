//! Single promises, by hand.

use super::*;

#[test]
fn a_full_disk_is_left_alone_for_a_second_and_catches_up_in_a_segment_of_its_own() {
    let mut files = Files::default();
    let mut journal = journal(BOUNDS, &mut files);
    begin(&mut journal, 1);
    journal.disk.room = Some(10);
    assert_eq!(end(&mut journal, 2, 0), Some(Kept::InMemory));
    assert_eq!(journal.health(), Health::Failing);
    journal.disk.room = None;
    assert_eq!(end(&mut journal, 3, 999), Some(Kept::InMemory));
    assert!(matches!(journal.next(1, 9), Next::Here(records) if records.len() == 2));
    assert_eq!(end(&mut journal, 4, 1_000), Some(Kept::OnDisk));
    assert_eq!(journal.health(), Health::Fine);
    let mut replay = Replay::default();
    for (number, bytes) in &files.segments {
        replay.read(*number, bytes);
    }
    let found = replay.finish();
    assert_eq!(found.open.keys().collect::<Vec<_>>(), [&id(1)]);
    assert_eq!((found.last_seq, found.unread_bytes), (3, 10));
    assert_eq!(found.next(1, 9), Next::There(2));
}

#[test]
fn a_journal_at_its_bound_keeps_ends_in_memory_and_then_none() {
    let mut files = Files::default();
    let bounds = Bounds { segment_bytes: 200, total_bytes: 400, memory_bytes: 200 };
    let mut journal = journal(bounds, &mut files);
    let kept: Vec<Option<Kept>> = (0..20).map(|n| end(&mut journal, n, 0)).collect();
    let count = |what| kept.iter().filter(|kept| **kept == what).count();
    assert!(kept.is_sorted_by_key(|kept| kept.map_or(2, |kept| kept as u8)));
    assert!(
        count(Some(Kept::OnDisk)) >= 5 && count(Some(Kept::InMemory)) >= 2 && count(None) >= 5,
        "{kept:?}"
    );
    assert_eq!(journal.health(), Health::Full);
    // Numbers have no holes: what was lost has none.
    let last = journal.last_seq();
    assert_eq!(last as usize, count(Some(Kept::OnDisk)) + count(Some(Kept::InMemory)));
    // In the books: there is room again, first for what waits.
    journal.advance(Progress { taken: last, watermark: last - 1 });
    assert!(!journal.take_removable(u64::MAX).is_empty());
    assert_eq!(end(&mut journal, 30, 2_000), Some(Kept::OnDisk));
    assert!(journal.total_bytes() <= 400);
}

#[test]
fn a_disk_that_was_full_for_long_counts_only_what_it_took() {
    let mut files = Files::default();
    let mut journal = journal(Bounds { total_bytes: 4_000, ..BOUNDS }, &mut files);
    for n in 0..10 {
        begin(&mut journal, n);
    }
    let before = journal.total_bytes();
    journal.disk.room = Some(10);
    assert_eq!(end(&mut journal, 1, 0), Some(Kept::InMemory));
    for at in 1..100 {
        journal.catch_up(at * 1_000);
    }
    assert_eq!((journal.health(), journal.total_bytes()), (Health::Failing, before));
    journal.disk.room = None;
    journal.catch_up(100_000);
    assert_eq!((journal.health(), journal.is_on_disk()), (Health::Fine, true));
}

#[test]
fn a_journal_that_long_requests_fill_begins_anew_when_they_are_over() {
    let mut files = Files::default();
    let mut journal = journal(Bounds { segment_bytes: 1_000, total_bytes: 1_000, ..BOUNDS }, &mut files);
    for n in 0..11 {
        begin(&mut journal, n);
    }
    let kept = (0..20).map(|n| {
        let kept = end(&mut journal, n, n * 2_000);
        let seq = journal.last_seq();
        journal.advance(Progress { taken: seq, watermark: seq });
        for number in journal.take_removable(u64::MAX) {
            journal.disk.segments.remove(&number);
        }
        kept
    });
    assert_eq!(kept.collect::<Vec<_>>()[11..], [Some(Kept::OnDisk); 9]);
    assert_eq!(journal.health(), Health::Fine);
}

#[test]
fn a_begin_stays_on_disk_until_its_end_is_there() {
    let mut files = Files::default();
    let mut journal = journal(Bounds { segment_bytes: 50, ..BOUNDS }, &mut files);
    begin(&mut journal, 1);
    // The next segment has no room for the end.
    begin(&mut journal, 2);
    journal.disk.room = Some(120);
    assert_eq!(end(&mut journal, 1, 0), Some(Kept::InMemory));
    for number in journal.take_removable(u64::MAX) {
        journal.disk.segments.remove(&number);
    }
    let mut replay = Replay::default();
    for (number, bytes) in &files.segments {
        replay.read(*number, bytes);
    }
    assert!(replay.finish().open.contains_key(&id(1)));
}

#[test]
fn the_newest_begins_of_the_oldest_requests_are_told_until_their_ends_are_taken() {
    let mut files = Files::default();
    let mut journal = journal(BOUNDS, &mut files);
    for n in [5, 3, 9, 1, 7] {
        begin(&mut journal, n);
    }
    let told = |journal: &Journal<&mut Files>, max| {
        let (begins, left_out) = journal.running(max);
        let begins = begins.into_iter().map(|(_, begin)| String::from_utf8(begin.to_vec()).unwrap());
        (begins.collect::<Vec<_>>(), left_out)
    };
    let begins = |numbers: &[u64]| numbers.iter().map(|n| record(*n, "begin")).collect::<Vec<_>>();
    assert_eq!(told(&journal, 9), (begins(&[1, 3, 5, 7, 9]), 0));
    assert_eq!(told(&journal, 2), (begins(&[1, 3]), 3));
    assert_eq!(told(&journal, 0), (begins(&[]), 5));
    // Another attempt.
    journal.begin(id(3), Draft::of_bytes(record(3, "again").as_bytes()));
    assert_eq!(told(&journal, 2), (vec![record(1, "begin"), record(3, "again")], 3));
    // Its end is nowhere but in memory: the begin stands, and does not run. One ends that never began.
    journal.disk.room = Some(0);
    assert_eq!(end(&mut journal, 1, 0), Some(Kept::InMemory));
    assert_eq!(end(&mut journal, 8, 0), Some(Kept::InMemory));
    assert_eq!(told(&journal, 2), (vec![record(3, "again"), record(5, "begin")], 2));
    journal.disk.room = None;
    journal.catch_up(1_000);
    assert_eq!(told(&journal, 2), (vec![record(3, "again"), record(5, "begin")], 2));
}

#[test]
fn what_is_damaged_is_told_in_its_place() {
    let mut files = Files::default();
    let mut journal = journal(Bounds { segment_bytes: 150, ..BOUNDS }, &mut files);
    for n in 0..6 {
        end(&mut journal, n, 0);
    }
    let mut replay = Replay::default();
    for (number, bytes) in &mut files.segments {
        if *number == 1 {
            let last = bytes.len() - 1;
            bytes[last] ^= 1;
        }
        replay.read(*number, bytes);
    }
    let found = replay.finish();
    let mut told = Vec::new();
    while told.len() < 6 {
        match found.next(told.len() as u64 + 1, 9) {
            Next::There(number) => {
                let from = told.len() as u64 + 1;
                told.extend(records(&files.segments[&number], from, found.end_of(number), 2));
            }
            Next::Here(records) => told.extend(records),
            Next::Nothing => panic!("six records, told {told:?}"),
        }
    }
    assert_eq!(told.iter().filter(|text| *text == UNREADABLE_RECORD).count(), 1);
    assert_eq!(told[0], record(0, "end"));
    assert_eq!(told[5], record(5, "end"));
    assert_eq!(found.next(7, 9), Next::Nothing);
}

#[test]
fn a_disk_that_does_not_answer_is_not_asked() {
    let mut files = Files::default();
    let mut journal = journal(BOUNDS, &mut files);
    journal.stall(true);
    assert_eq!(end(&mut journal, 1, 0), Some(Kept::InMemory));
    journal.stall(false);
    journal.catch_up(1);
    assert_eq!(journal.next(1, 1), Next::Here(vec![record(1, "end").into()]));
    assert_eq!(ends(&files.segments[&1], 1).count(), 1);
}

#[test]
fn what_is_in_the_books_stays_until_it_is_told_but_not_beyond_half_of_the_room() {
    let mut files = Files::default();
    let bounds = Bounds { segment_bytes: 150, total_bytes: 2_000, memory_bytes: 2_000 };
    let mut journal = journal(bounds, &mut files);
    journal.set_told(0);
    let mut written = 0;
    let mut end_and_book = |journal: &mut Journal<&mut Files>| {
        written += 1;
        assert_eq!(end(journal, written, 0), Some(Kept::OnDisk));
        journal.advance(Progress { taken: written, watermark: written });
        let removable = journal.take_removable(u64::MAX);
        removable.iter().for_each(|number| drop(journal.disk.segments.remove(number)));
        !removable.is_empty()
    };
    while !end_and_book(&mut journal) {
        assert!(journal.total_bytes() <= 1_200);
        assert_eq!(journal.first_from(1), 1);
        assert!(!journal.is_settled());
    }
    assert!(journal.total_bytes() >= 800, "half of it was used");
    let first = journal.first_from(1);
    assert!(first > 1, "the books come first");
    assert!(matches!(journal.next(first, 1), Next::There(_)));
    // Told, all but the last segment goes.
    journal.set_told(written);
    assert!(journal.is_settled());
    assert!(!journal.take_removable(u64::MAX).is_empty());
    assert_eq!(journal.first_from(written + 1), written + 1);
}

#[test]
fn what_only_memory_has_stays_until_it_is_told_as_well() {
    let mut files = Files { room: Some(0), ..Files::default() };
    let mut journal = journal(BOUNDS, &mut files);
    for told in [0, 1] {
        journal.set_told(told);
    }
    assert_eq!([end(&mut journal, 1, 0), end(&mut journal, 2, 0)], [Some(Kept::InMemory); 2]);
    journal.advance(Progress { taken: 2, watermark: 2 });
    assert_eq!(journal.next(2, 9), Next::Here(vec![record(2, "end").into()]));
    assert_eq!(journal.first_from(1), 2);
    journal.set_told(2);
    assert_eq!(journal.next(2, 9), Next::Nothing);
}

#[test]
fn ids_keep_their_bytes() {
    let id = crate::ids::JournalId::from_parts(UnixMillis(5), &[1; 10]);
    assert_eq!(id.to_string().parse(), Ok(id));
}
