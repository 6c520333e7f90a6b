//! What Postgres has of a round.

use serde::Deserialize;
use serde_json::Value;
use simulator::Usage;
use std::collections::{BTreeMap, HashMap};
use testbed::Postgres;

/// A row of the log.
#[derive(Debug, Deserialize)]
pub struct Logged {
    pub id: String,
    pub client: String,
    pub status: u16,
    pub attempts: usize,
    pub error: Option<String>,
    pub cost_nano_usd: i64,
    #[serde(flatten)]
    pub tokens: Tokens,
}

/// A row of the ledger.
#[derive(Debug, Deserialize)]
pub struct Billed {
    pub request_id: String,
    pub attempt: u32,
    pub provider_id: i64,
    pub outcome: String,
    pub cost_nano_usd: i64,
    pub is_estimate: bool,
    #[serde(flatten)]
    pub tokens: Tokens,
}

#[derive(Clone, Copy, Debug, Default, Deserialize, PartialEq, Eq)]
pub struct Tokens {
    pub input_tokens: u64,
    pub cache_write_5m_tokens: u64,
    pub cache_write_1h_tokens: u64,
    pub cache_read_tokens: u64,
    pub output_tokens: u64,
    pub reasoning_tokens: u64,
}

impl Tokens {
    pub fn is_nothing(self) -> bool {
        self == Self::default()
    }

    pub fn add(&mut self, more: Self) {
        self.input_tokens += more.input_tokens;
        self.cache_write_5m_tokens += more.cache_write_5m_tokens;
        self.cache_write_1h_tokens += more.cache_write_1h_tokens;
        self.cache_read_tokens += more.cache_read_tokens;
        self.output_tokens += more.output_tokens;
        self.reasoning_tokens += more.reasoning_tokens;
    }
}

impl From<Usage> for Tokens {
    fn from(usage: Usage) -> Self {
        Self {
            input_tokens: usage.input,
            cache_write_5m_tokens: usage.cache_write_5m,
            cache_write_1h_tokens: usage.cache_write_1h,
            cache_read_tokens: usage.cache_read,
            output_tokens: usage.output,
            reasoning_tokens: usage.reasoning,
        }
    }
}

/// The books of one round.
pub struct Books {
    /// By the seats' markers.
    pub log: HashMap<String, Vec<Logged>>,
    /// By request, in the order of the attempts.
    pub ledger: BTreeMap<String, Vec<Billed>>,
    /// What is wrong with the tables as such.
    pub wrong: Vec<String>,
}

impl Books {
    pub fn read(postgres: &Postgres, round: u64) -> Self {
        let of_round = format!("client LIKE 'soak/{round}/%'");
        let mut log: HashMap<String, Vec<Logged>> = HashMap::new();
        for row in rows(postgres, &format!("SELECT * FROM request_log WHERE {of_round}")) {
            let row: Logged = serde_json::from_value(row).unwrap();
            log.entry(row.client.clone()).or_default().push(row);
        }
        let mut ledger: BTreeMap<String, Vec<Billed>> = BTreeMap::new();
        let sql = format!(
            "SELECT ledger.* FROM ledger JOIN request_log ON id = request_id WHERE {of_round} \
             ORDER BY request_id, attempt"
        );
        for row in rows(postgres, &sql) {
            let row: Billed = serde_json::from_value(row).unwrap();
            ledger.entry(row.request_id.clone()).or_default().push(row);
        }
        let wrong = CHECKS.iter().flat_map(|(what, sql)| {
            let found = rows(postgres, sql);
            (!found.is_empty()).then(|| format!("{what}: {found:?}"))
        });
        Self { log, ledger, wrong: wrong.collect() }
    }
}

fn rows(postgres: &Postgres, sql: &str) -> Vec<Value> {
    let found = postgres.sql("hub", &format!("SELECT row_to_json(found) FROM ({sql}) AS found"));
    found.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

/// Each finds nothing in sound books.
const CHECKS: [(&str, &str); 4] = [
    (
        "ledger rows without a log row",
        "SELECT * FROM ledger WHERE NOT EXISTS (SELECT FROM request_log WHERE id = request_id)",
    ),
    ("records set aside", "SELECT request_id, reason FROM usage_dead_letters"),
    (
        "hours that are not the sums of the ledger",
        "SELECT * FROM (SELECT hour_start_ms, user_id, key_id, provider_id, model, sum(cost_nano_usd) AS cost, \
         sum(input_tokens) AS input, sum(output_tokens) AS output, sum(cache_read_tokens) AS read, \
         sum(cache_write_5m_tokens + cache_write_1h_tokens) AS written, sum(reasoning_tokens) AS reasoning \
         FROM usage_hourly WHERE provider_id <> 0 GROUP BY 1, 2, 3, 4, 5) AS hours \
         FULL JOIN (SELECT created_at_ms - created_at_ms % 3600000 AS hour_start_ms, user_id, key_id, provider_id, \
         coalesce(model, '') AS model, sum(cost_nano_usd) AS cost, sum(input_tokens) AS input, \
         sum(output_tokens) AS output, sum(cache_read_tokens) AS read, \
         sum(cache_write_5m_tokens + cache_write_1h_tokens) AS written, sum(reasoning_tokens) AS reasoning \
         FROM ledger GROUP BY 1, 2, 3, 4, 5) AS sums \
         USING (hour_start_ms, user_id, key_id, provider_id, model) \
         WHERE (hours.cost, hours.input, hours.output, hours.read, hours.written, hours.reasoning) IS DISTINCT FROM \
         (sums.cost, sums.input, sums.output, sums.read, sums.written, sums.reasoning)",
    ),
    (
        "hours that do not count the requests of the log",
        "SELECT * FROM (SELECT hour_start_ms, user_id, key_id, model, sum(requests) AS requests \
         FROM usage_hourly GROUP BY 1, 2, 3, 4) AS hours \
         FULL JOIN (SELECT created_at_ms - created_at_ms % 3600000 AS hour_start_ms, user_id, key_id, \
         coalesce(model, '') AS model, count(*) AS logged FROM request_log GROUP BY 1, 2, 3, 4) AS sums \
         USING (hour_start_ms, user_id, key_id, model) WHERE requests IS DISTINCT FROM logged",
    ),
];
