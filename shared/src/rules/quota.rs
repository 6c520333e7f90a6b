//! Budgets (design §7): what may be spent and asked for, and the proof that it is not more.
//!
//! An *account* is what one decision is made over: a user with its keys, or a provider. It knows what was spent and what
//! is *held*: put aside for requests under way. A request is let in when, in every window of every scope,
//! `spent + held + need ≤ limit`; what it needs is held until it is settled by what it cost.
//!
//! ```text
//!  admit ──► held ──► settle: held → spent, at the moment of the admission
//!              │
//!              └─ deadline over, nothing heard: charged as if spent, corrected by the settle that comes late
//! ```
//! A node may put money aside ahead, and let in from that: [`escrow`].
//!
//! [`Account`] is the model. The store in one process is made of it; the one in Redis repeats it, and is held to it.

pub mod account;
pub mod barrier;
mod calendar;
pub mod custody;
mod epoch;
pub mod escrow;
pub mod hands;
pub mod headers;
pub mod local;
pub mod need;
pub mod opening;
pub mod outage;
mod owed;
pub mod pace;
pub mod recalls;
mod refusal;
mod scope;
mod spent;
mod standing;
pub mod telling;
#[cfg(test)]
mod tests;
pub mod window;
pub mod words;

pub use account::Account;
pub use calendar::Calendar;
pub use epoch::{EpochNow, epoch_now, epoch_of};
pub use owed::{Owed, Said, owed, said_by, scope_of_key, scopes_of_caller, scopes_of_provider};
pub use standing::Counts;
pub use window::{Edges, Kind, Span, Terms, Window};
pub use words::{
    AccountId, Admission, Ahead, Ask, Back, Charge, HoldId, Life, Opening, Refusal, RequestsNow, ScopeId,
    SessionsNow, Settle, Spends, Standing, What, WindowNow,
};

/// The largest amount that is kept, in nano-USD: what a double of Lua holds exactly, 9 million dollars.
pub const MAX_AMOUNT: i64 = (1 << 53) - 1;
