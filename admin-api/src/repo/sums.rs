//! What was used in some time, by whom and of what: days where they hold, the hours around them. The numbers are those of
//! the hours alone.

use super::db::Db;
use super::entity::usage_hourly::{Key, Model};
use super::recount::{QUANTITIES, sums_of_quantities};
use super::usage_days::{Daily, that_hold};
use sea_orm::{ConnectionTrait, DbBackend, DbErr, FromQueryResult, Statement, Value};
use shared::rules::usage_days::{Sources, Span, sources};
use shared::time::UnixMillis;
use std::collections::{BTreeMap, BTreeSet};

/// A question.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Question {
    /// Parts of time: from each moment, in their order, to the next; days of the configured zone are the quickest. An hour
    /// (UTC) belongs to the part in which it begins.
    pub bounds: Vec<UnixMillis>,
    /// Whose use, or of what; `None`: all.
    pub of: Option<Of>,
    /// What is told apart within a part.
    pub by: By,
}

/// Whose use, or of what.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Of {
    /// Of a user.
    User(i64),
    /// Of a key.
    Key(i64),
    /// Of a provider; 0: what was sent to none.
    Provider(i64),
    /// Of a model, by the name that seats use; empty: they named none.
    Model(String),
}

/// What is told apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum By {
    /// Nothing: one sum for each part.
    Nothing,
    /// Users.
    User,
    /// Keys, with their users.
    Key,
    /// Providers.
    Provider,
    /// Models.
    Model,
}

/// Answers with a row for each part and each one told apart of which something was used, in this order: `hour_start_ms` is
/// the part's bound as it was given, what is not told apart is 0 or empty. Quick for everybody's use by user, key, provider
/// or model, and for one of these by its like or by nothing; else hours are read: one user's models, a provider's users.
pub async fn sums(db: &Db, question: &Question) -> Result<Vec<Model>, DbErr> {
    let moment = db.read_moment().await?;
    let hold = match question.daily() {
        Some(_) => that_hold(&moment).await?,
        None => BTreeSet::new(),
    };
    let parts = sums_in(&moment, question, &hold).await?;
    moment.rollback().await?;
    Ok(parts)
}

/// The same within a moment in which the sums of these days hold.
pub async fn sums_in(
    moment: &impl ConnectionTrait,
    question: &Question,
    hold: &BTreeSet<Span>,
) -> Result<Vec<Model>, DbErr> {
    let rows = match question.statement(moment.get_database_backend(), hold) {
        Some(statement) => Model::find_by_statement(statement).all(moment).await?,
        None => Vec::new(),
    };
    let mut parts: BTreeMap<Key, Model> = BTreeMap::new();
    for row in rows {
        let key = (
            question.part_of(UnixMillis(row.hour_start_ms)),
            row.user_id,
            row.key_id,
            row.provider_id,
            row.model.clone(),
        );
        add(parts.entry(key).or_insert_with_key(|key| Model::empty(key.clone())), &row);
    }
    Ok(parts.into_values().collect())
}

impl Question {
    /// What is asked of the database when these days hold; `None`: no time.
    #[must_use]
    pub fn statement(&self, backend: DbBackend, hold: &BTreeSet<Span>) -> Option<Statement> {
        let Sources { days, hours } =
            sources(&self.bounds, if self.daily().is_some() { hold } else { &NONE });
        let mut values = Vec::new();
        let mut parts = Vec::new();
        if let (Some(daily), false) = (self.daily(), days.is_empty()) {
            let from =
                format!("{}, requests, {} FROM {}", daily.as_roll_up(), QUANTITIES.join(", "), daily.table());
            let of = self.of_condition(backend, &mut values);
            parts.push(format!(
                "SELECT day_start_ms AS start_ms, {from} WHERE ({}){of}",
                within("day_start_ms", &days)
            ));
        }
        if !hours.is_empty() {
            let columns = "user_id, key_id, provider_id, model, requests";
            let of = self.of_condition(backend, &mut values);
            parts.push(format!(
                "SELECT hour_start_ms AS start_ms, {columns}, {} FROM usage_hourly WHERE ({}){of}",
                QUANTITIES.join(", "),
                within("hour_start_ms", &hours),
            ));
        }
        // One part of time needs no moments apart.
        let start = match self.bounds[..] {
            [start, _] => format!("CAST({} AS BIGINT)", start.0),
            _ => "start_ms".to_owned(),
        };
        let (told, group) = self.told_apart();
        let mut groups: Vec<&str> = group.to_vec();
        if self.bounds.len() != 2 {
            groups.push("start_ms");
        }
        // Without groups a sum of nothing is a row of nulls.
        let having = if groups.is_empty() {
            "HAVING COUNT(*) > 0".to_owned()
        } else {
            format!("GROUP BY {}", groups.join(", "))
        };
        let sql = format!(
            "SELECT {start} AS hour_start_ms, {told}, {} FROM ({}) AS parts {having}",
            sums_of_quantities(),
            parts.join(" UNION ALL "),
        );
        (!parts.is_empty()).then(|| Statement::from_sql_and_values(backend, sql, values))
    }

    /// The sums by day that can answer it.
    fn daily(&self) -> Option<Daily> {
        match (&self.of, self.by) {
            (None | Some(Of::User(_) | Of::Key(_)), By::User | By::Key)
            | (Some(Of::User(_) | Of::Key(_)), By::Nothing) => Some(Daily::Keys),
            (None | Some(Of::Provider(_) | Of::Model(_)), By::Provider | By::Model | By::Nothing) => {
                Some(Daily::Models)
            }
            (Some(Of::User(_) | Of::Key(_)), By::Provider | By::Model)
            | (Some(Of::Provider(_) | Of::Model(_)), By::User | By::Key) => None,
        }
    }

    fn of_condition(&self, backend: DbBackend, values: &mut Vec<Value>) -> String {
        let (column, value) = match &self.of {
            None => return String::new(),
            Some(Of::User(id)) => ("user_id", (*id).into()),
            Some(Of::Key(id)) => ("key_id", (*id).into()),
            Some(Of::Provider(id)) => ("provider_id", (*id).into()),
            Some(Of::Model(name)) => ("model", name.clone().into()),
        };
        values.push(value);
        match backend {
            DbBackend::Postgres => format!(" AND {column} = ${}", values.len()),
            _ => format!(" AND {column} = ?"),
        }
    }

    /// The columns before the sums, and those of them that are grouped by.
    fn told_apart(&self) -> (&'static str, &'static [&'static str]) {
        match self.by {
            By::Nothing => (
                "CAST(0 AS BIGINT) AS user_id, CAST(0 AS BIGINT) AS key_id, CAST(0 AS BIGINT) AS provider_id, '' AS model",
                &[],
            ),
            By::User => (
                "user_id, CAST(0 AS BIGINT) AS key_id, CAST(0 AS BIGINT) AS provider_id, '' AS model",
                &["user_id"],
            ),
            // A key is one user's. Grouped by both, Postgres expects a group for each pair and sorts on disk.
            By::Key => (
                "MIN(user_id) AS user_id, key_id, CAST(0 AS BIGINT) AS provider_id, '' AS model",
                &["key_id"],
            ),
            By::Provider => (
                "CAST(0 AS BIGINT) AS user_id, CAST(0 AS BIGINT) AS key_id, provider_id, '' AS model",
                &["provider_id"],
            ),
            By::Model => (
                "CAST(0 AS BIGINT) AS user_id, CAST(0 AS BIGINT) AS key_id, CAST(0 AS BIGINT) AS provider_id, model",
                &["model"],
            ),
        }
    }

    fn part_of(&self, at: UnixMillis) -> i64 {
        let next = self.bounds.partition_point(|bound| *bound <= at);
        self.bounds.get(next.saturating_sub(1)).map_or(at.0, |bound| bound.0)
    }
}

fn within(column: &str, spans: &[Span]) -> String {
    let one = |span: &Span| format!("({column} >= {} AND {column} < {})", span.start.0, span.end.0);
    spans.iter().map(one).collect::<Vec<_>>().join(" OR ")
}

fn add(sum: &mut Model, part: &Model) {
    // Each by its name: a new quantity is an error here until it is added, too.
    let Model {
        hour_start_ms: _,
        user_id: _,
        key_id: _,
        provider_id: _,
        model: _,
        requests,
        input_tokens,
        cache_write_5m_tokens,
        cache_write_1h_tokens,
        cache_read_tokens,
        output_tokens,
        reasoning_tokens,
        image_input_tokens,
        image_output_tokens,
        web_search_requests,
        cost_nano_usd,
    } = part;
    for (sum, part) in [
        (&mut sum.requests, requests),
        (&mut sum.input_tokens, input_tokens),
        (&mut sum.cache_write_5m_tokens, cache_write_5m_tokens),
        (&mut sum.cache_write_1h_tokens, cache_write_1h_tokens),
        (&mut sum.cache_read_tokens, cache_read_tokens),
        (&mut sum.output_tokens, output_tokens),
        (&mut sum.reasoning_tokens, reasoning_tokens),
        (&mut sum.image_input_tokens, image_input_tokens),
        (&mut sum.image_output_tokens, image_output_tokens),
        (&mut sum.web_search_requests, web_search_requests),
        (&mut sum.cost_nano_usd, cost_nano_usd),
    ] {
        *sum = sum.saturating_add(*part);
    }
}

static NONE: BTreeSet<Span> = BTreeSet::new();
