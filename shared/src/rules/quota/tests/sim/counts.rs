//! What worlds have seen: one in which nothing happens proves nothing.

use std::ops::AddAssign;

/// What happened in some worlds.
#[derive(Clone, Copy, Debug, Default)]
pub struct Counts {
    pub(super) admitted: u64,
    pub(super) refused: u64,
    pub(super) lost: u64,
    pub(super) crashed: u64,
    pub(super) interrupted: u64,
    pub(super) opened: u64,
    /// Escrows that nodes heard of.
    pub(super) granted: u64,
    /// Requests that were let in from one.
    pub(super) drawn: u64,
    /// Of these, while the store had lost what it knew and their node had not learned of it.
    pub(super) drawn_blind: u64,
    /// Parts of escrows that came back.
    pub(super) returned: u64,
    /// Escrows that had something free when they were recalled.
    pub(super) recalled: u64,
    /// Requests that were refused, and let in when escrows had come back.
    pub(super) admitted_after: u64,
    /// Requests from escrows that were cut with their process.
    pub(super) cut: u64,
    /// Escrows that outlived their deadline.
    pub(super) overdue: u64,
    /// Settles of several records.
    pub(super) together: u64,
    /// Of these, where the store knew some of the records and not the others.
    pub(super) divided: u64,
    /// Openings that came too late, when the store that they were for had been lost.
    pub(super) stale: u64,
    /// Stores that started again with an old copy of what they had.
    pub(super) set_back: u64,
}

impl AddAssign for Counts {
    fn add_assign(&mut self, other: Self) {
        self.admitted += other.admitted;
        self.refused += other.refused;
        self.lost += other.lost;
        self.crashed += other.crashed;
        self.interrupted += other.interrupted;
        self.opened += other.opened;
        self.granted += other.granted;
        self.drawn += other.drawn;
        self.drawn_blind += other.drawn_blind;
        self.returned += other.returned;
        self.recalled += other.recalled;
        self.admitted_after += other.admitted_after;
        self.cut += other.cut;
        self.overdue += other.overdue;
        self.together += other.together;
        self.divided += other.divided;
        self.stale += other.stale;
        self.set_back += other.set_back;
    }
}

impl Counts {
    pub fn have_seen_everything(&self) {
        let Self { admitted, refused, lost, crashed, interrupted, opened, .. } = *self;
        assert!([admitted, refused, lost, crashed, interrupted, opened].iter().all(|n| *n > 0), "{self:?}");
        let Self {
            granted,
            drawn,
            drawn_blind,
            returned,
            recalled,
            admitted_after,
            cut,
            overdue,
            together,
            divided,
            stale,
            set_back,
            ..
        } = *self;
        let others = [
            granted,
            drawn,
            drawn_blind,
            returned,
            recalled,
            admitted_after,
            cut,
            overdue,
            together,
            divided,
            stale,
            set_back,
        ];
        assert!(others.iter().all(|n| *n > 0), "{self:?}");
    }
}
