-- Publishes a configuration, whole or as a delta, unless something as new is there.
--
-- KEYS  1 head (hash)  2 core (string)  3 users (hash)  4 deltas (stream)  5.. buckets of keys (hashes)
-- ARGV  1 mode: "full" | "delta"
--       2 from: the revision a delta starts from (full: "0")
--       3 to: the revision published
--       4 schema of the documents
--       5 packed core, or "" when it did not change
--       6 packed delta, or "" (full)
--       7 channel
--       8 entries of the stream to keep
--       9.. operations, three each: index into KEYS, field, value ("" = remove)
-- Returns {"published", to} | {"stale", current} | {"gap", current}
--         stale: this revision or a newer one is there. gap: a delta does not start where things stand.
--         current is -1 when nothing is published; a head without its core (evicted) counts as nothing.
--
-- Revisions are whole numbers below 2^53. A "full" empties what it replaces: with nothing else there, readers
-- that are behind find no delta and read the whole. Deployed beside other versions: the name ends in the
-- version; a change of arguments is a new file.
local head, core, users, deltas = KEYS[1], KEYS[2], KEYS[3], KEYS[4]
local mode, from, to = ARGV[1], tonumber(ARGV[2]), tonumber(ARGV[3])

local current = tonumber(redis.call('HGET', head, 'revision') or '-1')
if redis.call('EXISTS', core) == 0 then
  current = -1
end
if current >= to then
  return { 'stale', string.format('%.0f', current) }
end
if mode == 'delta' and current ~= from then
  return { 'gap', string.format('%.0f', current) }
end
if mode == 'full' then
  for i = 2, #KEYS do
    redis.call('DEL', KEYS[i])
  end
end
if ARGV[5] ~= '' then
  redis.call('SET', core, ARGV[5])
end
for i = 9, #ARGV, 3 do
  local key, field, value = KEYS[tonumber(ARGV[i])], ARGV[i + 1], ARGV[i + 2]
  if value == '' then
    redis.call('HDEL', key, field)
  else
    redis.call('HSET', key, field, value)
  end
end
if ARGV[6] ~= '' then
  redis.call('XADD', deltas, 'MAXLEN', ARGV[8], ARGV[3] .. '-0', 'from', ARGV[2], 'delta', ARGV[6])
end
redis.call('HSET', head, 'revision', ARGV[3], 'schema', ARGV[4])
redis.call('PUBLISH', ARGV[7], ARGV[3])
return { 'published', ARGV[3] }
