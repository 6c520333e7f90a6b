-- A ledger of a million rows over 90 days before {now}: 2 000 users with two keys each, 50 providers, all skewed. For Postgres; it copies
-- provider 1000.
INSERT INTO users (id, name, tags, provider_group, is_enabled, allowed_models, allowed_clients, blocked_clients, revision, created_at_ms, updated_at_ms)
SELECT n, 'user ' || n, '[]', 'default', true, '[]', '[]', '[]', 1, 0, 0 FROM generate_series(1, 2000) AS n;
INSERT INTO keys (id, user_id, name, digest, masked_key, provider_group, is_enabled, allowed_models, revision, created_at_ms, updated_at_ms)
SELECT n, (n + 1) / 2, 'key ' || n, 'digest ' || n, '', '', true, '[]', 1, 0, 0 FROM generate_series(1, 4000) AS n;
INSERT INTO providers SELECT (jsonb_populate_record(p, jsonb_build_object('id', n, 'name', 'provider ' || n))).*
FROM providers AS p, generate_series(1, 50) AS n WHERE p.id = 1000;
INSERT INTO ledger (request_id, attempt, created_at_ms, user_id, key_id, provider_id, model, outcome, input_tokens, cache_write_5m_tokens,
    cache_write_1h_tokens, cache_read_tokens, output_tokens, reasoning_tokens, image_input_tokens, image_output_tokens, web_search_requests,
    input_cost_nano_usd, cache_write_5m_cost_nano_usd, cache_write_1h_cost_nano_usd, cache_read_cost_nano_usd, output_cost_nano_usd,
    fees_cost_nano_usd, cost_nano_usd, provider_cost_multiplier, group_cost_multiplier, is_estimate, is_unpriced, is_long_context,
    is_priority_tier)
SELECT md5(n::text), 1, at, (key_id + 1) / 2, key_id, 1 + (50 * random() ^ 2)::int % 50, 'model-' || n % 10,
    CASE WHEN n % 10000 = 0 THEN 'interrupted' ELSE 'served' END,
    1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, n, 1, 1, false, false, false, false
FROM (SELECT n, {now} - 90 * 86400000::bigint + n * 7776::bigint AS at, 1 + (3999 * random() ^ 2)::int AS key_id
    FROM generate_series(1, 1000000) AS n) AS drawn;
INSERT INTO usage_hourly
SELECT created_at_ms - created_at_ms % 3600000, user_id, key_id, provider_id, model, count(*), sum(input_tokens), sum(1), sum(1), sum(1), sum(1),
    sum(1), sum(1), sum(1), sum(1), sum(cost_nano_usd)
FROM ledger GROUP BY 1, 2, 3, 4, 5;
