//! Limits of users, keys and providers: what is valid, what the audit log says of them, and the columns they are kept in.

use super::check::Violations;
use crate::repo::limits::LimitColumns;
use serde_json::{Value, json};
use shared::model::{DailyMode, FiveHoursMode, Limits, WallTime};
use shared::money::NanoUsd;
use shared::rules::quota::MAX_AMOUNT;
use shared::time::UnixMillis;

/// 0 is no limit, like none at all.
pub(super) fn check(limits: &Limits, v: &mut Violations) {
    let most = NanoUsd(MAX_AMOUNT).to_usd();
    for (field, amount) in money(limits) {
        let is_fine = amount.is_none_or(|amount| (0..=MAX_AMOUNT).contains(&amount.0));
        v.require(is_fine, field, &format!("must be 0 (no limit) to {most}"));
    }
    for (field, count) in
        [("rpm_limit", limits.requests_per_minute), ("limit_concurrent_sessions", limits.concurrent_sessions)]
    {
        let is_fine = count.is_none_or(|count| count <= MAX_COUNT);
        v.require(is_fine, field, &format!("must be 0 (no limit) to {MAX_COUNT}"));
    }
}

/// Adds to what the audit log says of a user, key or provider what it says of the limits.
pub(super) fn note(limits: &Limits, audited: &mut Value) {
    for (field, amount) in money(limits) {
        audited[field] = json!(amount.map(NanoUsd::to_usd));
    }
    audited["limit_5h_reset_mode"] = json!(limits.five_hours_mode.as_str());
    audited["daily_reset_mode"] = json!(limits.daily_mode.as_str());
    audited["daily_reset_time"] = json!(String::from(limits.daily_reset_time));
    audited["limit_concurrent_sessions"] = json!(limits.concurrent_sessions);
}

/// Columns as limits; an error names the column that cannot be read.
pub(super) fn stored(columns: LimitColumns) -> Result<Limits, &'static str> {
    Ok(Limits {
        five_hours: columns.limit_5h_nano_usd.map(NanoUsd),
        five_hours_mode: FiveHoursMode::parse(&columns.limit_5h_reset_mode).ok_or("limit_5h_reset_mode")?,
        daily: columns.limit_daily_nano_usd.map(NanoUsd),
        daily_mode: DailyMode::parse(&columns.daily_reset_mode).ok_or("daily_reset_mode")?,
        daily_reset_time: WallTime::parse(&columns.daily_reset_time).map_err(|_| "daily_reset_time")?,
        weekly: columns.limit_weekly_nano_usd.map(NanoUsd),
        monthly: columns.limit_monthly_nano_usd.map(NanoUsd),
        total: columns.limit_total_nano_usd.map(NanoUsd),
        requests_per_minute: columns.rpm_limit.map(i32::cast_unsigned),
        concurrent_sessions: columns.limit_concurrent_sessions.map(i32::cast_unsigned),
        reset_at: columns.cost_reset_at_ms.map(UnixMillis),
        five_hours_reset_at: columns.limit_5h_cost_reset_at_ms.map(UnixMillis),
    })
}

/// Limits as columns.
pub(super) fn columns(limits: &Limits) -> LimitColumns {
    let amount = |limit: Option<NanoUsd>| limit.map(|limit| limit.0);
    LimitColumns {
        rpm_limit: limits.requests_per_minute.map(u32::cast_signed),
        limit_5h_nano_usd: amount(limits.five_hours),
        limit_5h_reset_mode: limits.five_hours_mode.as_str().to_owned(),
        limit_daily_nano_usd: amount(limits.daily),
        daily_reset_mode: limits.daily_mode.as_str().to_owned(),
        daily_reset_time: limits.daily_reset_time.into(),
        limit_weekly_nano_usd: amount(limits.weekly),
        limit_monthly_nano_usd: amount(limits.monthly),
        limit_total_nano_usd: amount(limits.total),
        limit_concurrent_sessions: limits.concurrent_sessions.map(u32::cast_signed),
        cost_reset_at_ms: limits.reset_at.map(|at| at.0),
        limit_5h_cost_reset_at_ms: limits.five_hours_reset_at.map(|at| at.0),
    }
}

/// Those of money, by the field that sets them.
fn money(limits: &Limits) -> [(&'static str, Option<NanoUsd>); 5] {
    [
        ("limit_5h_usd", limits.five_hours),
        ("limit_daily_usd", limits.daily),
        ("limit_weekly_usd", limits.weekly),
        ("limit_monthly_usd", limits.monthly),
        ("limit_total_usd", limits.total),
    ]
}

/// More than any seat asks for; what is meant to be endless is left out.
const MAX_COUNT: u32 = 1_000_000;
