//! One journal in one process.

use super::*;
use futures::FutureExt as _;
use shared::journal::UNREADABLE_RECORD;
use shared::time::UnixMillis;

fn in_memory() -> UsageJournal {
    let config = JournalConfig { root: None, total_bytes: 1 << 30 };
    UsageJournal::new(JournalId::from_parts(UnixMillis(1), &[1; 10]), &config)
}

#[tokio::test]
async fn a_request_runs_from_its_begin_to_its_end_though_no_disk_takes_either() {
    let journal = in_memory();
    let records = [3, 1, 2].map(shared::testing::usage_record);
    for record in &records {
        journal.begin(record.request.id, Draft::of_bytes(&record.to_bytes().unwrap())).await;
    }
    let [third, first, second] = records;
    assert_eq!(journal.running(2), Some((vec![first.clone(), second.clone()], 1)));
    journal.end(&first).await;
    assert_eq!(journal.running(2), Some((vec![second, third], 0)));
}

#[tokio::test]
async fn who_is_alone_writes_at_once_and_whoever_is_not_lets_others_go_first() {
    let journal = in_memory();
    let begin = |n: u8| journal.begin(RequestId::from_bytes([n; 16]), Draft::of_bytes(b"{}"));
    assert!(begin(1).now_or_never().is_some());
    assert!(begin(2).now_or_never().is_some(), "one other request is under way, and does not write now");
    assert!(begin(3).now_or_never().is_none());
}

#[test]
fn who_only_looks_does_not_wait_for_a_disk_that_has_the_journal() {
    let journal = in_memory();
    let held = journal.journal.lock();
    assert_eq!(journal.running(1), None);
    assert!(journal.standing().is_none());
    drop(held);
    assert_eq!(journal.running(1), Some((Vec::new(), 0)));
}

struct NoStream;

#[async_trait::async_trait]
impl shared::ports::UsageStream for NoStream {
    async fn append(&self, _: shared::ports::UsageBatch) -> Result<Progress, PortError> {
        Err(PortError::Unavailable)
    }
}

#[tokio::test]
async fn a_disk_that_has_the_journal_holds_up_no_stop() {
    let journal = Arc::new(in_memory());
    journal.end(&shared::testing::usage_record(1)).await;
    let (told, is_held) = std::sync::mpsc::channel();
    let (release, waits) = std::sync::mpsc::channel::<()>();
    let holder = journal.clone();
    let hung = std::thread::spawn(move || {
        let _held = holder.journal.lock();
        told.send(()).unwrap();
        let _ = waits.recv();
    });
    is_held.recv().unwrap();
    let (_stop, stopped) = tokio::sync::watch::channel(true);
    tokio::time::pause();
    ship::Shipper::new(journal.clone(), Arc::new(NoStream)).run(stopped).await;
    assert_eq!(journal.marks().unbooked(), 1);
    drop(release);
    hung.join().unwrap();
}

#[tokio::test]
async fn records_whose_segment_was_taken_away_hold_up_none_that_came_after() {
    let directory = tempfile::tempdir().unwrap();
    let config = JournalConfig { root: Some(directory.path().to_owned()), total_bytes: 1 << 30 };
    let journal = UsageJournal::new(JournalId::from_parts(UnixMillis(1), &[1; 10]), &config);
    let record = |n: u8| format!("{{\"n\":{n},\"text\":\"{}\"}}", "x".repeat(1 << 20));
    // More than is kept in memory beside the disk.
    for n in 1..=20 {
        journal.end_at_once(RequestId::from_bytes([n; 16]), record(n).as_bytes());
    }
    std::fs::remove_dir_all(directory.path()).unwrap();
    let mut cache = Cache::default();
    let mut told = Vec::new();
    while told.len() < 20 {
        let records = journal.read(told.len() as u64 + 1, 100, &mut cache).await.unwrap();
        assert!(!records.is_empty());
        told.extend(records);
    }
    assert_eq!(told[0], UNREADABLE_RECORD);
    assert!(told[19] == record(20), "what memory has is not lost");
}

#[test]
fn a_directory_that_is_being_made_is_nobodys_to_adopt_and_is_swept_when_its_maker_is_long_gone() {
    let root = tempfile::tempdir().unwrap();
    let unnamed =
        |n: u8| root.path().join(format!(".new-{}", JournalId::from_parts(UnixMillis(1), &[n; 10])));
    for n in [1, 2] {
        std::fs::create_dir(unnamed(n)).unwrap();
        std::fs::write(unnamed(n).join("lock"), "").unwrap();
    }
    let long_ago = std::time::SystemTime::now() - Duration::from_secs(601);
    std::fs::File::open(unnamed(2)).unwrap().set_modified(long_ago).unwrap();
    let (abandoned, there) = directory::Abandoned::all(root.path()).unwrap();
    assert!(abandoned.is_empty() && there.is_empty());
    assert_eq!((unnamed(1).exists(), unnamed(2).exists()), (true, false));
    // Whose it is goes on.
    let config = JournalConfig { root: Some(root.path().to_owned()), total_bytes: 1 << 30 };
    let id = JournalId::from_parts(UnixMillis(1), &[1; 10]);
    let _journal = UsageJournal::new(id, &config);
    assert!(root.path().join(id.to_string()).exists());
}

#[tokio::test]
async fn a_disk_that_does_not_answer_is_read_by_one_thread_however_often_it_is_asked() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("00000001.seg");
    // Nobody writes to it: whoever reads waits.
    assert!(std::process::Command::new("mkfifo").arg(&path).status().unwrap().success());
    let mut cache = Cache::default();
    let mut readers = Vec::new();
    for _ in 0..2 {
        assert_eq!(cache.segment(1, 5, path.clone()).await, Err(PortError::Unreadable));
        readers.push(cache.reading.as_ref().unwrap().2.id());
    }
    assert_eq!(readers[0], readers[1]);
    std::fs::write(&path, b"at last").unwrap();
    assert_eq!(&cache.segment(1, 5, path).await.unwrap()[..], b"at last");
}
