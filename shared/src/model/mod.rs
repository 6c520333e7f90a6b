//! What exists: users, keys, groups, providers, prices, settings. A file each.
//!
//! These are the runtime types: what cannot be valid cannot be written down. Rows, API documents and the
//! published snapshot are other types that convert into these.

pub mod client;
pub mod error_rule;
pub mod group;
pub mod limits;
pub mod price;
pub mod principal;
pub mod provider;
pub mod rules;
pub mod schedule;
pub mod settings;

pub use client::{Client, ClientDenied, ClientPattern};
pub use error_rule::{ErrorBody, ErrorBodyError, ErrorCategory, ErrorMatch, ErrorPattern, ErrorPatternError};
pub use group::{Group, GroupSet};
pub use limits::{DailyMode, FiveHoursMode, Limits, QuotaReservation, WallTime};
pub use principal::{Key, User};
pub use provider::{BreakerSettings, ClientAbort, EgressSettings, Provider, ProviderType, Timers};
pub use rules::{MatchType, ModelRule, Redirect};
pub use schedule::ActiveTime;
pub use settings::{BillingModelSource, Settings, TierSource};
