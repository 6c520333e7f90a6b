//! The columns of limits, which users, keys and providers have alike.

use super::entity::{keys, providers, users};
use sea_orm::ActiveValue::Set;
use sea_orm::{ColumnTrait, Condition};

/// What the columns of these names hold; they are described where they are made, in `migrations`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LimitColumns {
    pub rpm_limit: Option<i32>,
    pub limit_5h_nano_usd: Option<i64>,
    pub limit_5h_reset_mode: String,
    pub limit_daily_nano_usd: Option<i64>,
    pub daily_reset_mode: String,
    pub daily_reset_time: String,
    pub limit_weekly_nano_usd: Option<i64>,
    pub limit_monthly_nano_usd: Option<i64>,
    pub limit_total_nano_usd: Option<i64>,
    pub limit_concurrent_sessions: Option<i32>,
    pub cost_reset_at_ms: Option<i64>,
    pub limit_5h_cost_reset_at_ms: Option<i64>,
}

/// A row that has them.
pub trait Limited {
    /// What they hold.
    fn limit_columns(&self) -> LimitColumns;

    /// True when any of them limits something: of a row that cannot be read, too.
    fn is_limited(&self) -> bool;
}

/// A table of such rows.
pub trait LimitedRows {
    /// Those of which [`Limited::is_limited`] is true.
    fn are_limited() -> Condition;
}

/// Changes to such a row.
pub trait SetLimits {
    /// Sets all of them. Of a provider, whose requests of a minute nobody counts, `rpm_limit` is let go.
    fn set_limit_columns(&mut self, columns: LimitColumns);
}

/// Each row type once: sea-orm makes a type a table, and they share nothing.
macro_rules! limited {
    ($table:ident $(, $rpm_limit:ident, $rpm_column:ident)?) => {
        impl Limited for $table::Model {
            fn limit_columns(&self) -> LimitColumns {
                LimitColumns {
                    rpm_limit: None$(.or(self.$rpm_limit))?,
                    limit_5h_nano_usd: self.limit_5h_nano_usd,
                    limit_5h_reset_mode: self.limit_5h_reset_mode.clone(),
                    limit_daily_nano_usd: self.limit_daily_nano_usd,
                    daily_reset_mode: self.daily_reset_mode.clone(),
                    daily_reset_time: self.daily_reset_time.clone(),
                    limit_weekly_nano_usd: self.limit_weekly_nano_usd,
                    limit_monthly_nano_usd: self.limit_monthly_nano_usd,
                    limit_total_nano_usd: self.limit_total_nano_usd,
                    limit_concurrent_sessions: self.limit_concurrent_sessions,
                    cost_reset_at_ms: self.cost_reset_at_ms,
                    limit_5h_cost_reset_at_ms: self.limit_5h_cost_reset_at_ms,
                }
            }

            fn is_limited(&self) -> bool {
                let money = [
                    self.limit_5h_nano_usd,
                    self.limit_daily_nano_usd,
                    self.limit_weekly_nano_usd,
                    self.limit_monthly_nano_usd,
                    self.limit_total_nano_usd,
                ];
                let counts = [None$(.or(self.$rpm_limit))?, self.limit_concurrent_sessions];
                money.into_iter().flatten().any(|n| n > 0) || counts.into_iter().flatten().any(|n| n > 0)
            }
        }

        impl LimitedRows for $table::Entity {
            fn are_limited() -> Condition {
                use $table::Column::*;
                Condition::any()
                    .add(Limit5hNanoUsd.gt(0))
                    .add(LimitDailyNanoUsd.gt(0))
                    .add(LimitWeeklyNanoUsd.gt(0))
                    .add(LimitMonthlyNanoUsd.gt(0))
                    .add(LimitTotalNanoUsd.gt(0))
                    .add(LimitConcurrentSessions.gt(0))
                    $(.add($rpm_column.gt(0)))?
            }
        }

        impl SetLimits for $table::ActiveModel {
            fn set_limit_columns(&mut self, columns: LimitColumns) {
                $(self.$rpm_limit = Set(columns.$rpm_limit);)?
                self.limit_5h_nano_usd = Set(columns.limit_5h_nano_usd);
                self.limit_5h_reset_mode = Set(columns.limit_5h_reset_mode);
                self.limit_daily_nano_usd = Set(columns.limit_daily_nano_usd);
                self.daily_reset_mode = Set(columns.daily_reset_mode);
                self.daily_reset_time = Set(columns.daily_reset_time);
                self.limit_weekly_nano_usd = Set(columns.limit_weekly_nano_usd);
                self.limit_monthly_nano_usd = Set(columns.limit_monthly_nano_usd);
                self.limit_total_nano_usd = Set(columns.limit_total_nano_usd);
                self.limit_concurrent_sessions = Set(columns.limit_concurrent_sessions);
                self.cost_reset_at_ms = Set(columns.cost_reset_at_ms);
                self.limit_5h_cost_reset_at_ms = Set(columns.limit_5h_cost_reset_at_ms);
            }
        }
    };
}

limited!(users, rpm_limit, RpmLimit);
limited!(keys, rpm_limit, RpmLimit);
limited!(providers);
