//! Tells a database that refuses the data itself, and will refuse it tomorrow, from one that cannot do its work now.
//!
//! Only codes that blame the data count. Whatever else is wrong (connection, lock, disk, rights, another schema) may
//! pass or be mended, and holds for every row alike: then rows wait.

use sea_orm::sqlx::error::DatabaseError;
use sea_orm::{DbErr, RuntimeErr, SqlxError};
use std::fmt;

/// A refusal for good. Prints as `constraint (23514 request_log_status_check)`: codes and names of the schema,
/// nothing of the data.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// What the data offends.
    pub kind: RefusalKind,
    /// SQLSTATE on Postgres, the extended result code on SQLite; empty when the driver refused.
    code: String,
    /// The constraint, where the database names it.
    constraint: Option<String>,
}

/// What refused data offends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RefusalKind {
    /// A constraint or a trigger.
    Constraint,
    /// The range or type of a column.
    Value,
    /// A limit of size.
    TooLarge,
}

impl RefusalKind {
    /// The name used in the table and in logs.
    #[must_use]
    pub fn label(self) -> &'static str {
        match self {
            Self::Constraint => "constraint",
            Self::Value => "value",
            Self::TooLarge => "too_large",
        }
    }
}

impl Refusal {
    /// The refusal that an error is, if it is one.
    #[must_use]
    pub fn of(error: &DbErr) -> Option<Self> {
        match sqlx_error(error)? {
            SqlxError::Database(error) => Self::by_database(&**error),
            // Before anything was sent: the driver cannot write the value down.
            SqlxError::Encode(_) => {
                Some(Self { kind: RefusalKind::Value, code: String::new(), constraint: None })
            }
            _ => None,
        }
    }

    fn by_database(error: &(dyn DatabaseError + 'static)) -> Option<Self> {
        let code = error.code()?;
        // SQLSTATEs have five characters; SQLite's codes are numbers of at most four digits.
        let kind = if code.len() == 5 { by_sqlstate(&code) } else { by_sqlite_code(&code) }?;
        Some(Self { kind, code: code.into_owned(), constraint: error.constraint().map(str::to_owned) })
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let constraint = self.constraint.as_deref().unwrap_or_default();
        let detail = format!("{} {constraint}", self.code);
        match detail.trim() {
            "" => f.write_str(self.kind.label()),
            detail => write!(f, "{} ({detail})", self.kind.label()),
        }
    }
}

/// The driver's error inside, whatever was being done.
pub(super) fn sqlx_error(error: &DbErr) -> Option<&SqlxError> {
    match error {
        DbErr::Conn(RuntimeErr::SqlxError(error))
        | DbErr::Exec(RuntimeErr::SqlxError(error))
        | DbErr::Query(RuntimeErr::SqlxError(error)) => Some(error),
        _ => None,
    }
}

/// By class, see appendix A of Postgres' manual.
fn by_sqlstate(code: &str) -> Option<RefusalKind> {
    match code.get(..2)? {
        // Integrity constraint violation; cardinality violation (one key twice in an upsert).
        "23" | "21" => Some(RefusalKind::Constraint),
        // Data exception: out of range, invalid text, NUL.
        "22" => Some(RefusalKind::Value),
        // Program limit exceeded, e.g. an index row that is too large.
        "54" => Some(RefusalKind::TooLarge),
        _ => None,
    }
}

/// By primary code, the lowest byte; see <https://www.sqlite.org/rescode.html>.
fn by_sqlite_code(code: &str) -> Option<RefusalKind> {
    match code.parse::<u32>().ok()? & 0xff {
        // SQLITE_TOOBIG
        18 => Some(RefusalKind::TooLarge),
        // SQLITE_CONSTRAINT
        19 => Some(RefusalKind::Constraint),
        // SQLITE_MISMATCH
        20 => Some(RefusalKind::Value),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use sea_orm::ConnAcquireErr;

    #[test]
    fn only_what_blames_the_data_is_a_refusal_on_postgres() {
        for (code, kind) in [
            ("23502", RefusalKind::Constraint),
            ("23505", RefusalKind::Constraint),
            ("23514", RefusalKind::Constraint),
            ("21000", RefusalKind::Constraint),
            ("22003", RefusalKind::Value),
            ("22021", RefusalKind::Value),
            ("54000", RefusalKind::TooLarge),
        ] {
            assert_eq!(by_sqlstate(code), Some(kind), "{code}");
        }
        // Connection, deadlock, disk full, too many connections, timeout, shutdown, read-only, rights, no such table.
        for code in ["08006", "40001", "40P01", "53100", "53300", "57014", "57P01", "25006", "42501", "42P01"]
        {
            assert_eq!(by_sqlstate(code), None, "{code}");
        }
    }

    #[test]
    fn only_what_blames_the_data_is_a_refusal_on_sqlite() {
        for (code, kind) in [
            ("18", RefusalKind::TooLarge),
            ("275", RefusalKind::Constraint),
            ("1299", RefusalKind::Constraint),
            ("1811", RefusalKind::Constraint),
            ("20", RefusalKind::Value),
        ] {
            assert_eq!(by_sqlite_code(code), Some(kind), "{code}");
        }
        // Error, busy, busy snapshot, locked, read-only, I/O, corrupt, full, cannot open, schema.
        for code in ["1", "5", "517", "6", "8", "10", "11", "13", "14", "17", "x"] {
            assert_eq!(by_sqlite_code(code), None, "{code}");
        }
    }

    #[test]
    fn a_database_that_is_away_refuses_nothing() {
        let conn = |error: SqlxError| DbErr::Conn(RuntimeErr::SqlxError(error.into()));
        let away = std::io::Error::from(std::io::ErrorKind::ConnectionReset);
        for error in [
            DbErr::ConnectionAcquire(ConnAcquireErr::Timeout),
            conn(SqlxError::PoolTimedOut),
            conn(SqlxError::PoolClosed),
            conn(SqlxError::Io(away)),
            DbErr::Exec(RuntimeErr::SqlxError(SqlxError::WorkerCrashed.into())),
        ] {
            assert_eq!(Refusal::of(&error), None, "{error:?}");
        }
    }

    #[test]
    fn a_refusal_prints_without_the_data() {
        let unnamed = Refusal { kind: RefusalKind::Value, code: String::new(), constraint: None };
        assert_eq!(unnamed.to_string(), "value");
        let coded = Refusal { kind: RefusalKind::Value, code: "22003".to_owned(), constraint: None };
        assert_eq!(coded.to_string(), "value (22003)");
        let named =
            Refusal { kind: RefusalKind::Constraint, constraint: Some("c_check".to_owned()), ..coded };
        assert_eq!(named.to_string(), "constraint (22003 c_check)");
    }
}
