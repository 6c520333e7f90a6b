//! A model: random operations on a process, its disk, the stream and the books, crashes at every byte, and at the end
//! the question whether every request is in the books as it should be.

mod cases;

use super::*;
use crate::time::UnixMillis;
use proptest::prelude::*;
use std::collections::{BTreeMap, BTreeSet};

/// A disk in memory that can fail, fill up and lose what was not synced.
#[derive(Clone, Debug, Default)]
struct Files {
    segments: BTreeMap<u64, Vec<u8>>,
    synced: BTreeMap<u64, usize>,
    /// Bytes that it takes before it breaks; `None`: any number.
    room: Option<usize>,
}

impl Files {
    fn sync(&mut self) -> u64 {
        self.synced = self.segments.iter().map(|(number, bytes)| (*number, bytes.len())).collect();
        self.segments.keys().last().copied().unwrap_or(0)
    }

    fn lose_power(&mut self) {
        let synced = std::mem::take(&mut self.synced);
        self.segments.retain(|number, bytes| {
            bytes.truncate(synced.get(number).copied().unwrap_or(0));
            synced.contains_key(number)
        });
    }
}

impl Disk for &mut Files {
    fn create(&mut self, number: u64, head: &[u8]) -> io::Result<()> {
        self.segments.insert(number, Vec::new());
        let room = self.room;
        self.append(head).inspect_err(|_| {
            self.segments.remove(&number);
            self.room = room;
        })
    }

    fn append(&mut self, bytes: &[u8]) -> io::Result<()> {
        let taken = self.room.map_or(bytes.len(), |room| room.min(bytes.len()));
        if let Some(room) = &mut self.room {
            *room -= taken;
        }
        let (_, segment) = self.segments.iter_mut().next_back().unwrap();
        segment.extend_from_slice(&bytes[..taken]);
        if taken < bytes.len() { Err(io::ErrorKind::StorageFull.into()) } else { Ok(()) }
    }
}

/// The stream between gateways and books, and the books: who comes first with a request stays.
#[derive(Default)]
struct FarSide {
    progress: BTreeMap<u64, Progress>,
    waiting: VecDeque<(u64, u64, Vec<u8>)>,
    booked: BTreeMap<u64, BTreeSet<u64>>,
    books: BTreeMap<RequestId, Vec<u8>>,
    /// Who counts what is spent was told of these.
    told: BTreeSet<RequestId>,
}

impl FarSide {
    fn append(&mut self, journal: u64, floor: u64, first: u64, records: &[Bytes]) -> Progress {
        let progress = self.progress.entry(journal).or_insert(Progress { taken: floor, watermark: floor });
        if first <= progress.taken + 1 {
            for (seq, record) in (first..).zip(records) {
                if seq > progress.taken {
                    progress.taken = seq;
                    self.waiting.push_back((journal, seq, record.to_vec()));
                }
            }
        }
        *progress
    }

    fn book(&mut self, count: usize) {
        for (journal, seq, record) in self.waiting.drain(..count.min(self.waiting.len())) {
            let (id, _) = read(&record);
            self.books.entry(id).or_insert(record);
            let booked = self.booked.entry(journal).or_default();
            booked.insert(seq);
            let floor = self.progress.get(&journal).map_or(0, |p| p.watermark);
            let watermark = (floor + 1..).take_while(|seq| booked.contains(seq)).last().unwrap_or(floor);
            if let Some(progress) = self.progress.get_mut(&journal) {
                progress.watermark = watermark;
                progress.taken = progress.taken.max(watermark);
            }
        }
    }

    fn flush(&mut self) {
        self.waiting.clear();
        self.progress.clear();
    }
}

/// What is known to a bystander of each request.
#[derive(Clone, Copy, Debug, Default)]
struct Known {
    is_begun: bool,
    has_ended: bool,
    begin_is_safe: bool,
    end_is_safe: bool,
}

#[derive(Clone, Debug)]
enum Op {
    Begin,
    /// Ends the n-th of those under way.
    End(usize),
    /// Begins the n-th of those under way once more, with another attempt.
    Again(usize),
    /// What was taken is written.
    Write,
    Ship(usize),
    /// What is spent is told.
    Tell(usize),
    /// Somebody counts what is spent from now on, or nobody does.
    Listen(bool),
    Book(usize),
    Flush,
    Sync,
    /// The disk takes this many more bytes.
    Room(Option<usize>),
    Stall(bool),
    CatchUp,
    /// The process dies, perhaps with the machine.
    Crash {
        with_power: bool,
    },
}

fn op() -> impl Strategy<Value = Op> {
    prop_oneof![
        8 => Just(Op::Begin),
        6 => (0usize..64).prop_map(Op::End),
        2 => (0usize..64).prop_map(Op::Again),
        9 => Just(Op::Write),
        4 => (0usize..20).prop_map(Op::Ship),
        3 => (0usize..20).prop_map(Op::Tell),
        1 => any::<bool>().prop_map(Op::Listen),
        4 => (0usize..20).prop_map(Op::Book),
        1 => Just(Op::Flush),
        2 => Just(Op::Sync),
        2 => prop_oneof![Just(None), (0usize..900).prop_map(Some)].prop_map(Op::Room),
        1 => any::<bool>().prop_map(Op::Stall),
        1 => Just(Op::CatchUp),
        2 => any::<bool>().prop_map(|with_power| Op::Crash { with_power }),
    ]
}

fn id(n: u64) -> RequestId {
    RequestId::from_parts(n, &[7; 10])
}

/// A record says whose it is and what it is.
fn record(n: u64, what: &str) -> String {
    format!(r#"{{"n":{n},"what":"{what}"}}"#)
}

fn read(record: &[u8]) -> (RequestId, String) {
    let value: serde_json::Value = serde_json::from_slice(record).unwrap();
    (id(value["n"].as_u64().unwrap()), value["what"].as_str().unwrap().to_owned())
}

/// What is left of a dead process.
struct Left {
    name: u64,
    files: Files,
    found: Found,
    floor: u64,
    taken: u64,
    told: u64,
    /// In the living journal: the number of the last of its open requests' records.
    handed_on: u64,
}

/// One life of a process after another, on one machine.
#[derive(Default)]
struct World {
    requests: Vec<Known>,
    under_way: Vec<u64>,
    far: FarSide,
    left: Vec<(u64, Files)>,
    clock: u64,
    lives: u64,
    /// Somebody counts what is spent, from the first record to the last.
    is_always_heard: bool,
}

/// What dead processes left: their interrupted requests become ends of this journal.
fn adopt(dead: Vec<(u64, Files)>, journal: &mut Journal<&mut Files>, clock: u64) -> Vec<Left> {
    let adopt = |(name, files): (u64, Files)| {
        let mut replay = Replay::default();
        for (number, bytes) in &files.segments {
            replay.read(*number, bytes);
        }
        let found = replay.finish();
        for (id, record) in &found.open {
            assert!(journal.end(*id, Draft::of_bytes(record), clock));
            journal.flush(clock);
        }
        let (handed_on, floor) = (journal.last_seq(), found.floor);
        Left { name, files, found, floor, taken: floor, told: 0, handed_on }
    };
    dead.into_iter().map(adopt).collect()
}

impl World {
    /// A process lives until a crash or until the operations are over; then it ends in good order.
    fn live(&mut self, ops: &mut std::vec::IntoIter<Op>) -> bool {
        self.lives += 1;
        let name = self.lives;
        let mut files = Files::default();
        let mut journal = Journal::new(&mut files, BOUNDS);
        let mut left = adopt(std::mem::take(&mut self.left), &mut journal, self.clock);
        let mut progress = Progress::default();
        let mut told = self.is_always_heard.then_some(0);
        journal.set_told(told.unwrap_or(u64::MAX));
        let mut crash = None;
        // Taken and not written yet: the request, and whether it ended.
        let mut gathered: Vec<(u64, bool)> = Vec::new();
        for op in ops.by_ref() {
            self.clock += 300;
            match op {
                Op::Begin => {
                    let n = self.requests.len() as u64;
                    journal.begin(id(n), Draft::of_bytes(record(n, "begin").as_bytes()));
                    self.requests.push(Known::default());
                    self.under_way.push(n);
                    gathered.push((n, false));
                }
                Op::Again(which) if !self.under_way.is_empty() => {
                    let n = self.under_way[which % self.under_way.len()];
                    journal.begin(id(n), Draft::of_bytes(record(n, "begin").as_bytes()));
                    gathered.push((n, false));
                }
                Op::End(which) if !self.under_way.is_empty() => {
                    let n = self.under_way.remove(which % self.under_way.len());
                    let is_taken =
                        journal.end(id(n), Draft::of_bytes(record(n, "end").as_bytes()), self.clock);
                    assert!(is_taken, "memory has room");
                    gathered.push((n, true));
                }
                Op::Write => {
                    let is_written = journal.flush(self.clock) == Kept::OnDisk;
                    for (n, is_end) in gathered.drain(..).filter(|_| is_written) {
                        let known = &mut self.requests[n as usize];
                        *(if is_end { &mut known.has_ended } else { &mut known.is_begun }) = true;
                    }
                }
                Op::Ship(most) => {
                    progress = ship(&mut journal, name, progress, most, &mut self.far);
                    let done = journal.watermark().min(told.unwrap_or(u64::MAX));
                    left.retain_mut(|left| !left.ship(done, most, &mut self.far));
                }
                Op::Tell(most) => {
                    told = told.map(|told| tell(&mut journal, told, most, &mut self.far));
                    left.iter_mut().for_each(|left| left.tell(most, &mut self.far));
                }
                Op::Listen(is_heard) if !self.is_always_heard => {
                    // What is in the books is known to whoever reads these first.
                    told = is_heard.then(|| told.unwrap_or(journal.watermark()));
                    journal.set_told(told.unwrap_or(u64::MAX));
                }
                Op::Book(count) => self.far.book(count),
                Op::Flush => self.far.flush(),
                Op::Sync => {
                    let synced = journal.disk.sync();
                    for known in &mut self.requests {
                        known.begin_is_safe |= known.is_begun;
                        known.end_is_safe |= known.has_ended;
                    }
                    for number in journal.take_removable(synced) {
                        journal.disk.segments.remove(&number);
                    }
                }
                Op::Room(room) => journal.disk.room = room,
                Op::Stall(is_stalled) => journal.stall(is_stalled),
                Op::CatchUp => journal.catch_up(self.clock),
                Op::Crash { with_power } => {
                    crash = Some(with_power);
                    break;
                }
                Op::Again(_) | Op::End(_) | Op::Listen(_) => {}
            }
            self.under_way.sort_unstable();
            let oldest = self.under_way.iter().take(MAX_TOLD);
            let oldest: Vec<_> = oldest.map(|n| (id(*n), Bytes::from(record(*n, "begin")))).collect();
            let left_out = self.under_way.len() - oldest.len();
            assert_eq!(journal.running(MAX_TOLD), (oldest, left_out));
        }
        let is_over = crash.is_none();
        drop(journal);
        if crash == Some(false) {
            // What earlier processes left was synced when it was adopted.
            files.lose_power();
        }
        files.room = None;
        self.left = left.into_iter().map(|left| (left.name, left.files)).collect();
        self.left.push((name, files));
        let with_power = crash != Some(false);
        for n in self.under_way.drain(..) {
            let known = &mut self.requests[n as usize];
            known.begin_is_safe |= with_power && known.is_begun;
        }
        for known in &mut self.requests {
            // Only the process's death makes it certain that what reached the system is read again.
            known.begin_is_safe |= with_power && known.is_begun;
            known.end_is_safe |= with_power && known.has_ended;
            (known.is_begun, known.has_ended) = (known.begin_is_safe, known.end_is_safe);
        }
        is_over
    }

    /// A last process on a fine disk, with everybody at work.
    fn settle(&mut self) {
        let ops = [Op::Ship(50), Op::Tell(50), Op::Book(100), Op::Sync];
        let ops = std::iter::repeat_n(ops, 40).flatten();
        let mut ops = ops.collect::<Vec<_>>().into_iter();
        assert!(self.live(&mut ops));
    }
}

impl Left {
    fn tell(&mut self, most: usize, far: &mut FarSide) {
        let first = self.found.first_from(self.told + 1);
        // What is gone was told by its own process, or by the last one that adopted it; or nobody listened.
        self.told = first - 1;
        if let Next::There(number) = self.found.next(first, most) {
            let last = self.found.end_of(number);
            let records = records(&self.files.segments[&number], first, last, most);
            self.told += records.len() as u64;
            far.told.extend(records.iter().map(|record| read(record).0));
        }
    }

    /// True when nothing of it is needed any more.
    fn ship(&mut self, done: u64, most: usize, far: &mut FarSide) -> bool {
        let first = self.taken + 1;
        let records = match self.found.next(first, most) {
            Next::There(number) => {
                records(&self.files.segments[&number], first, self.found.end_of(number), most)
            }
            Next::Here(_) => panic!("a hole in {:?} at {first}", self.found),
            Next::Nothing => Vec::new(),
        };
        assert!(records.iter().all(|record| record != UNREADABLE_RECORD));
        let progress = far.append(self.name, self.floor, first, &records);
        self.taken = progress.taken;
        self.floor = self.floor.max(progress.watermark);
        // Its begins are all there is of what was cut until the living journal's records of that are booked and told.
        if done >= self.handed_on {
            for number in self.found.take_removable(self.floor.min(self.told)) {
                self.files.segments.remove(&number);
            }
        }
        self.files.segments.is_empty()
    }
}

/// Tells what is spent; answers up to which number it is.
fn tell(journal: &mut Journal<&mut Files>, told: u64, most: usize, far: &mut FarSide) -> u64 {
    assert_eq!(journal.first_from(told + 1), told + 1, "nothing goes before it is told");
    let records = match journal.next(told + 1, most) {
        Next::Nothing => Vec::new(),
        Next::Here(records) => records,
        Next::There(number) => {
            records(&journal.disk.segments[&number], told + 1, journal.end_of(number), most)
        }
    };
    far.told.extend(records.iter().map(|record| read(record).0));
    let told = told + records.len() as u64;
    journal.set_told(told);
    told
}

fn ship(
    journal: &mut Journal<&mut Files>,
    name: u64,
    at: Progress,
    most: usize,
    far: &mut FarSide,
) -> Progress {
    let first = at.taken + 1;
    let records = match journal.next(first, most) {
        Next::Nothing => Vec::new(),
        Next::Here(records) => records,
        Next::There(number) => records(&journal.disk.segments[&number], first, journal.end_of(number), most),
    };
    let progress = far.append(name, journal.watermark(), first, &records);
    journal.advance(progress);
    progress
}

/// Fewer than run at times.
const MAX_TOLD: usize = 3;
const BOUNDS: Bounds = Bounds { segment_bytes: 400, total_bytes: 1 << 20, memory_bytes: 1 << 20 };

proptest! {
    #![proptest_config(ProptestConfig { cases: 600, ..ProptestConfig::default() })]

    #[test]
    fn every_request_is_in_the_books_as_it_ended_and_told_of(
        ops in prop::collection::vec(op(), 1..250),
        is_always_heard: bool,
    ) {
        let mut world = World { is_always_heard, ..World::default() };
        let mut ops = ops.into_iter();
        while !world.live(&mut ops) {}
        world.settle();
        for (n, known) in world.requests.iter().enumerate() {
            let booked = world.far.books.get(&id(n as u64)).map(|record| read(record).1);
            if known.end_is_safe {
                prop_assert_eq!(booked.as_deref(), Some("end"), "{} ended", n);
            } else if known.begin_is_safe {
                prop_assert!(booked.is_some(), "{} began", n);
            }
            if is_always_heard && (known.end_is_safe || known.begin_is_safe) {
                prop_assert!(world.far.told.contains(&id(n as u64)), "{} is told", n);
            }
        }
        // What was left is gone, and the last process holds next to nothing.
        prop_assert_eq!(world.left.len(), 1);
        let (_, files) = &world.left[0];
        prop_assert!(files.segments.len() <= 1, "{:?}", files.segments.keys());
    }

    #[test]
    fn a_segment_is_read_up_to_where_it_is_torn(count in 1usize..20, cut in 0usize..1_000, at in 0usize..1_000) {
        let mut files = Files::default();
        let mut journal = Journal::new(&mut files, Bounds { segment_bytes: 1 << 20, ..BOUNDS });
        for n in 0..count as u64 {
            end(&mut journal, n, 0);
        }
        let whole = files.segments.remove(&1).unwrap();
        let torn = &whole[..cut.min(whole.len())];
        let read: Vec<u64> = ends(torn, 1).map(|(seq, _)| seq).collect();
        prop_assert_eq!(&read, &(1..=read.len() as u64).collect::<Vec<_>>());
        let mut replay = Replay::default();
        replay.read(1, torn);
        let found = replay.finish();
        prop_assert_eq!(found.last_seq, read.len() as u64);
        // A byte that is not what was written ends it as well.
        let mut broken = whole.clone();
        let at = at % broken.len();
        broken[at] ^= 0x40;
        prop_assert!(ends(&broken, 1).count() < count);
    }
}

fn journal(bounds: Bounds, files: &mut Files) -> Journal<&mut Files> {
    Journal::new(files, bounds)
}

fn begin(journal: &mut Journal<&mut Files>, n: u64) {
    journal.begin(id(n), Draft::of_bytes(record(n, "begin").as_bytes()));
    journal.flush(0);
}

/// Ends a request by itself; `None` when that is lost.
fn end(journal: &mut Journal<&mut Files>, n: u64, now_ms: u64) -> Option<Kept> {
    let is_taken = journal.end(id(n), Draft::of_bytes(record(n, "end").as_bytes()), now_ms);
    is_taken.then(|| journal.flush(now_ms))
}
