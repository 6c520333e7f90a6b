//! What really was spent, counted by itself.

use crate::ids::{JournalId, KeyId};
use crate::rules::quota::window::FIVE_HOURS_MS;
use crate::rules::quota::{HoldId, ScopeId, Span, Window};
use crate::time::UnixMillis;

/// A request, from the question to the store on.
#[derive(Clone, Debug)]
pub struct Request {
    pub hold: HoldId,
    pub key: KeyId,
    /// The journal of the node that was asked.
    pub owner: JournalId,
    pub need: i64,
    /// What it will cost.
    pub cost: i64,
    pub state: State,
    /// False as long as the store may hold something for it, by itself or in what it was drawn from.
    pub is_resolved: bool,
    /// What it was drawn from, as long as its node knows.
    pub from: Option<HoldId>,
    /// The store has been told what it cost, whether anybody heard the answer or not.
    pub is_charged: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// Not let in, or given up before it began.
    Out,
    /// Let in at this moment of the store, and not ended.
    Running(i64),
    /// It has cost, at this moment.
    Spent(i64),
}

impl Request {
    pub fn is_of(&self, scope: ScopeId) -> bool {
        match scope {
            ScopeId::Owner => true,
            ScopeId::Key(key) => self.key == key,
        }
    }
}

/// What was spent from this moment on.
pub fn spent(requests: &[Request], scope: ScopeId, start: i64) -> i64 {
    let of = requests.iter().filter(|request| request.is_of(scope));
    let cost = |request: &Request| match request.state {
        State::Spent(at) if at >= start => request.cost,
        _ => 0,
    };
    of.map(cost).sum()
}

/// What was let in from this moment on and may still cost.
pub fn running(requests: &[Request], scope: ScopeId, start: i64) -> i64 {
    let of = requests.iter().filter(|request| request.is_of(scope));
    let need = |request: &Request| match request.state {
        State::Running(at) if at >= start => request.need,
        _ => 0,
    };
    of.map(need).sum()
}

/// From when on spending counts in a window now, and not a moment earlier. `first`: the same of the five hours that begin with a
/// spending: only the store knows which that was.
pub fn start(window: &Window, now: i64, first: UnixMillis) -> i64 {
    let start = match window.span {
        Span::Calendar(edges) => edges.around(UnixMillis(now)).0.0,
        Span::Ever => 0,
        Span::Rolling(width) => now - width + 1,
        Span::FirstSpend => first.0,
    };
    start.max(window.reset_at.map_or(0, |reset_at| reset_at.0))
}

/// The earliest moment whose spending may count: buckets do so as a whole, and the five hours began no longer ago than that.
pub fn earliest(window: &Window, now: i64) -> i64 {
    let start = match window.span {
        Span::Calendar(edges) => edges.around(UnixMillis(now)).0.0,
        Span::Ever => 0,
        Span::Rolling(width) => {
            now - width - if width == FIVE_HOURS_MS { 5 * 60_000 } else { 15 * 60_000 } + 1
        }
        Span::FirstSpend => now - FIVE_HOURS_MS + 1,
    };
    start.max(window.reset_at.map_or(0, |reset_at| reset_at.0))
}

/// What is kept in the store of money that was put aside ahead: what really was granted, taken and given back.
#[derive(Clone, Copy, Debug)]
pub struct Aside {
    pub owner: JournalId,
    pub key: KeyId,
    pub at: i64,
    pub left: i64,
    /// What was given back of it in parts.
    pub returned: i64,
    /// Its deadline is over.
    pub is_overdue: bool,
}

impl Aside {
    pub fn is_of(&self, scope: ScopeId) -> bool {
        scope == ScopeId::Owner || scope == ScopeId::Key(self.key)
    }

    /// What nobody has drawn of it that still counts.
    pub fn idle(&self, id: HoldId, requests: &[Request]) -> i64 {
        let drawn = requests.iter().filter(|r| r.from == Some(id) && !r.is_charged);
        let drawn = drawn.map(|request| match request.state {
            State::Out => 0,
            State::Running(_) => request.need,
            State::Spent(_) => request.cost,
        });
        (self.left - drawn.sum::<i64>()).max(0)
    }
}

/// How much more than they need those may cost that run, or that have ended and the store does not know what they cost.
pub fn excess(requests: &[Request], scope: ScopeId) -> i64 {
    let of = requests.iter().filter(|request| request.is_of(scope));
    let of = of.filter(|request| match request.state {
        State::Out => false,
        State::Running(_) => true,
        State::Spent(_) => !request.is_resolved,
    });
    of.map(|request| (request.cost - request.need).max(0)).sum()
}

/// All that the store may have put aside.
pub fn unresolved(requests: &[Request], scope: ScopeId) -> i64 {
    let open = requests.iter().filter(|r| r.is_of(scope) && !r.is_resolved);
    open.map(|request| request.need.max(request.cost)).sum()
}
