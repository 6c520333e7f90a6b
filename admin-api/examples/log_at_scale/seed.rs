//! Makes the rows, in the server: a day at a time, all columns of all three tables filled.
//!
//! 90 days up to now, weekends quieter; 2 000 users with two keys each, 50 providers, 40 models, all skewed: the busiest
//! user makes some 5 % of the requests. A key stays with a model and, for an hour, with a provider; sessions are of some
//! twenty requests; 2 % are refused here, 4 % fail, some are tried twice. What is drawn is drawn from a fixed seed.

use std::time::Instant;
use testbed::Postgres;

pub const DAYS: i64 = 90;

/// Fills the tables; two days at a time, for two processors.
pub fn fill(server: &Postgres, rows: u64, elsewhere: Option<&str>) {
    let began = Instant::now();
    prepare(server, elsewhere);
    let today: i64 =
        value(server, "SELECT floor(extract(epoch FROM now()) / 86400)::bigint").parse().unwrap();
    let days: Vec<i64> = (today - DAYS..today).collect();
    let weight = |day: &i64| if (day + 4).rem_euclid(7) % 6 == 0 { 0.3 } else { 1.0 };
    let per_weight = rows as f64 / days.iter().map(weight).sum::<f64>();
    let (odd, even): (Vec<i64>, Vec<i64>) = days.into_iter().partition(|day| day % 2 == 1);
    std::thread::scope(|scope| {
        for half in [odd, even] {
            scope.spawn(move || {
                for day in half {
                    let rows = (per_weight * weight(&day)) as u64;
                    let name = value(server, &format!("SELECT to_char(to_timestamp({day}::bigint * 86400) AT TIME ZONE 'UTC', 'YYYYMMDD')"));
                    let sql = DAY.replace("{day}", &day.to_string()).replace("{rows}", &rows.to_string());
                    let _ = server.sql("hub", &sql.replace("{name}", &name));
                }
            });
        }
    });
    println!("rows: {:.0} s", began.elapsed().as_secs_f64());
    let _ = server.sql("hub", FINISH);
    let _ = server.sql("hub", "VACUUM ANALYZE");
    println!("keys and statistics: {:.0} s", began.elapsed().as_secs_f64());
    println!("{}", server.sql("hub", SIZES));
}

/// One value.
pub fn value(server: &Postgres, sql: &str) -> String {
    server.sql("hub", sql).trim().to_owned()
}

fn prepare(server: &Postgres, elsewhere: Option<&str>) {
    for setting in ["max_wal_size = '256MB'", "maintenance_work_mem = '256MB'", "autovacuum = off"] {
        let _ = server.sql("hub", &format!("ALTER SYSTEM SET {setting}"));
    }
    let _ = server.sql("hub", "SELECT pg_reload_conf()");
    let _ = server.sql("hub", DROP_KEYS);
    if let Some(directory) = elsewhere {
        let _ = server.sql("hub", &format!("CREATE TABLESPACE elsewhere LOCATION '{directory}'"));
        let _ = server.sql("hub", ELSEWHERE);
    }
    // The days that the start made are in the way of none: they begin with today.
    let _ = server.sql("hub", HELPERS);
}

/// Keys and indexes of the ledger and the sums are made after the rows.
const DROP_KEYS: &str = "
ALTER TABLE ledger DROP CONSTRAINT ledger_pkey;
DROP INDEX ledger_created_idx, ledger_user_idx, ledger_provider_idx, ledger_interrupted_idx;
ALTER TABLE usage_hourly DROP CONSTRAINT usage_hourly_pkey;
DROP INDEX usage_hourly_user_idx, usage_hourly_key_idx, usage_hourly_provider_idx;
";

const ELSEWHERE: &str = "
ALTER TABLE ledger SET TABLESPACE elsewhere;
ALTER TABLE usage_hourly SET TABLESPACE elsewhere;
DO $$ DECLARE i text; BEGIN
    FOR i IN SELECT indexname FROM pg_indexes WHERE tablename = 'request_log' LOOP
        EXECUTE format('ALTER INDEX %I SET TABLESPACE elsewhere', i);
    END LOOP;
END $$;
ALTER DATABASE hub SET default_tablespace = '';
";

/// A number from 0 to 1 that a text always gives.
const HELPERS: &str = "
CREATE FUNCTION share(t text) RETURNS float8 LANGUAGE sql IMMUTABLE PARALLEL SAFE
    RETURN (hashtext(t)::bigint + 2147483648) / 4294967296.0;
";

const DAY: &str = r#"
SELECT setseed({day} / 1000000.0);
CREATE TABLE request_log_{name} (LIKE request_log INCLUDING DEFAULTS INCLUDING CONSTRAINTS);
INSERT INTO request_log_{name}
SELECT
    substr(hex, 1, 8) || '-' || substr(hex, 9, 4) || '-7' || substr(hex, 13, 3) || '-8' || substr(hex, 16, 3) || '-' || substr(hex, 19, 12),
    at, user_id, key_id, provider_id, 'anthropic_messages', model, model || '-20250514', r2 < 0.9, status,
    CASE WHEN provider_id IS NULL THEN CASE WHEN status = 429 THEN 'rate_limited' ELSE 'model_not_allowed' END END,
    CASE WHEN status = 200 AND r3 < 0.01 THEN 'upstream_cut' END,
    CASE WHEN status = 200 THEN CASE WHEN r3 < 0.6 THEN 'tool_use' ELSE 'end_turn' END END,
    CASE WHEN provider_id IS NOT NULL THEN 'req_' || substr(hex, 13, 18) END,
    '10.' || user_id % 200 || '.' || key_id % 250 || '.7', 'claude-cli/2.0.' || key_id % 30,
    CASE WHEN r4 < 0.85 THEN substr(md5(session), 1, 8) || '-' || substr(md5(session), 9, 4) || '-4' || substr(md5(session), 14, 3)
        || '-9' || substr(md5(session), 18, 3) || '-' || substr(md5(session), 21, 12) END,
    (1 + 60 * r3)::int, (300 + 4000 * r2 ^ 3)::bigint, (500 + 6000 * r2 ^ 3)::bigint, (1000 + 60000 * r3 ^ 3)::bigint,
    attempts, input, cw5, cw1, cr, output, output / 3, 0, 0, (r2 < 0.01)::int, cost,
    format('{"input":%s,"cache_write_5m":%s,"cache_write_1h":%s,"cache_read":%s,"output":%s,"total":%s}',
        input * 3000, cw5 * 3750, cw1 * 6000, cr * 300, output * 15000, cost),
    r3 < 0.02, r4 > 0.995,
    format('{"revision":%s,"seed":%s,"steps":[{"step":"attempted","attempt":1,"provider_id":%s,"result":"%s","status":%s,"duration_ms":%s}]}',
        {day}, (r1 * 1e15)::bigint, provider_or_first, CASE status WHEN 200 THEN 'served' ELSE 'overloaded' END, status, (r3 * 9000)::int)
FROM (
    SELECT *, coalesce(provider_id, 1) AS provider_or_first,
        input * 3000 + cw5 * 3750 + cw1 * 6000 + cr * 300 + output * 15000 AS cost,
        lpad(to_hex(at), 12, '0') || md5(r1::text || r2::text || n) AS hex,
        key_id || '/' || at / 7200000 || '/' || floor(r4 * share(key_id::text) * 20)::int AS session
    FROM (
        SELECT *,
            CASE WHEN refused THEN NULL
                WHEN r1 < 0.1 THEN 1 + floor(50 * r4 ^ 2)::int
                ELSE 1 + floor(50 * share(key_id || '@' || at / 3600000) ^ 2)::int END AS provider_id,
            'model-' || CASE WHEN r4 < 0.8 THEN floor(40 * share('m' || key_id) ^ 2)::int ELSE floor(40 * r3 ^ 3)::int END AS model,
            CASE WHEN refused THEN CASE WHEN r4 < 0.7 THEN 429 ELSE 403 END
                WHEN r3 > 0.96 THEN (ARRAY[400, 499, 499, 500, 502, 503, 529, 529])[1 + floor(8 * r4)::int]
                ELSE 200 END AS status,
            CASE WHEN refused THEN 0 WHEN r1 > 0.97 THEN 2 ELSE 1 END AS attempts,
            CASE WHEN refused THEN 0 ELSE (20 + 900 * r2 ^ 2)::bigint END AS input,
            CASE WHEN refused THEN 0 ELSE (4000 * r3 ^ 2)::bigint END AS cw5,
            CASE WHEN refused OR r4 < 0.8 THEN 0 ELSE (2000 * r3)::bigint END AS cw1,
            CASE WHEN refused THEN 0 ELSE (90000 * r4)::bigint END AS cr,
            CASE WHEN refused THEN 0 ELSE (5 + 3000 * r1 ^ 3)::bigint END AS output
        FROM (
            SELECT n, r1, r2, r3, r4, user_id, 2 * user_id - (r2 < 0.3)::int AS key_id, r1 > 0.4 AND r1 < 0.42 AS refused,
                {day}::bigint * 86400000 + floor(86400000 * CASE WHEN r4 < 0.75 THEN 0.3 + 0.5 * r1 ELSE r1 END)::bigint AS at
            FROM (
                SELECT n, random() AS r1, random() AS r2, random() AS r3, random() AS r4, 1 + floor(2000 * random() ^ 2.5)::bigint AS user_id
                FROM generate_series(1, {rows}) AS n OFFSET 0
            ) AS draws
        ) AS who
    ) AS what
) AS request;
ALTER TABLE request_log ATTACH PARTITION request_log_{name} FOR VALUES FROM ({day} * 86400000::bigint) TO (({day} + 1) * 86400000::bigint);
INSERT INTO ledger
SELECT id, attempt, created_at_ms, user_id, key_id,
    CASE WHEN attempt = attempts THEN provider_id ELSE provider_id % 50 + 1 END, model, upstream_model,
    CASE WHEN attempt < attempts OR status >= 500 THEN 'failed' WHEN status = 499 THEN 'drained' ELSE 'served' END,
    input_tokens * last, cache_write_5m_tokens * last, cache_write_1h_tokens * last, cache_read_tokens * last,
    output_tokens * last, reasoning_tokens * last, 0, 0, web_search_requests * last, input_tokens * 3000 * last,
    cache_write_5m_tokens * 3750 * last, cache_write_1h_tokens * 6000 * last, cache_read_tokens * 300 * last,
    output_tokens * 15000 * last, 0, cost_nano_usd * last, 1000000, 1000000, is_estimate, is_unpriced, false, false
FROM request_log_{name}, generate_series(1, attempts) AS attempt, LATERAL (SELECT (attempt = attempts)::int AS last) AS l;
INSERT INTO usage_hourly
SELECT hour, user_id, key_id, provider_id, model, sum(requests), sum(i), sum(w5), sum(w1), sum(r), sum(o), sum(t), 0, 0, sum(s), sum(c)
FROM (
    SELECT created_at_ms / 3600000 * 3600000 AS hour, user_id, key_id, coalesce(provider_id, 0) AS provider_id, model,
        1 AS requests, input_tokens AS i, cache_write_5m_tokens AS w5, cache_write_1h_tokens AS w1, cache_read_tokens AS r,
        output_tokens AS o, reasoning_tokens AS t, web_search_requests AS s, cost_nano_usd AS c
    FROM request_log_{name}
    UNION ALL
    SELECT created_at_ms / 3600000 * 3600000, user_id, key_id, provider_id % 50 + 1, model, 0, 0, 0, 0, 0, 0, 0, 0, 0
    FROM request_log_{name} WHERE attempts = 2
) AS part
GROUP BY 1, 2, 3, 4, 5;
"#;

const FINISH: &str = "
ALTER TABLE ledger ADD PRIMARY KEY (request_id, attempt);
CREATE INDEX ledger_created_idx ON ledger (created_at_ms, request_id);
CREATE INDEX ledger_user_idx ON ledger (user_id, created_at_ms);
CREATE INDEX ledger_provider_idx ON ledger (provider_id, created_at_ms);
CREATE INDEX ledger_interrupted_idx ON ledger (created_at_ms) WHERE outcome = 'interrupted';
ALTER TABLE usage_hourly ADD PRIMARY KEY (hour_start_ms, user_id, key_id, provider_id, model);
CREATE INDEX usage_hourly_user_idx ON usage_hourly (user_id, hour_start_ms);
CREATE INDEX usage_hourly_key_idx ON usage_hourly (key_id, hour_start_ms);
CREATE INDEX usage_hourly_provider_idx ON usage_hourly (provider_id, hour_start_ms);
";

const SIZES: &str = "
SELECT 'request_log: ' || (SELECT count(*) FROM request_log) || ' rows, ' || pg_size_pretty(sum(pg_relation_size(inhrelid)))
    || ', indexes ' || pg_size_pretty(sum(pg_indexes_size(inhrelid)))
FROM pg_inherits WHERE inhparent = 'request_log'::regclass
UNION ALL SELECT 'ledger: ' || (SELECT count(*) FROM ledger) || ' rows, ' || pg_size_pretty(pg_relation_size('ledger'))
    || ', indexes ' || pg_size_pretty(pg_indexes_size('ledger'))
UNION ALL SELECT 'usage_hourly: ' || (SELECT count(*) FROM usage_hourly) || ' rows, ' || pg_size_pretty(pg_relation_size('usage_hourly'))
    || ', indexes ' || pg_size_pretty(pg_indexes_size('usage_hourly'))
";

/// With what sums by day of each key, provider and model together would have come to.
pub const DAYS_SIZES: &str = "
SELECT 'usage_daily_keys: ' || (SELECT count(*) FROM usage_daily_keys) || ' rows, ' || pg_size_pretty(pg_relation_size('usage_daily_keys'))
    || ', indexes ' || pg_size_pretty(pg_indexes_size('usage_daily_keys'))
UNION ALL SELECT 'usage_daily_models: ' || (SELECT count(*) FROM usage_daily_models) || ' rows, ' || pg_size_pretty(pg_relation_size('usage_daily_models'))
    || ', indexes ' || pg_size_pretty(pg_indexes_size('usage_daily_models'))
UNION ALL SELECT 'one table of both would have ' || count(*) || ' rows'
FROM (SELECT DISTINCT hour_start_ms / 86400000, user_id, key_id, provider_id, model FROM usage_hourly) AS both_in_one
";
