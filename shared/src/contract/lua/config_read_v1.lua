-- Reads what leads from one revision to what is published, in one moment.
--
-- KEYS  1 head (hash)  2 core (string)  3 users (hash)  4 deltas (stream)  5.. buckets of keys (hashes), all or none
-- ARGV  1 after: the reader's revision, or "" when it has none
-- Returns {"none"}                                nothing is published
--         {"level", revision, schema}             not newer than what the reader has
--         {"deltas", revision, schema, d1, d2 …}  packed, each from where the last one ended
--         {"whole", revision, schema}             only the whole leads there; ask again with the buckets
--         {"whole", revision, schema, core, users, bucket 0, … bucket 255}   core packed, the others lists of JSON
--
-- Polls name four keys; the buckets are named only when they are needed. Deployed beside other versions: the name
-- ends in the version; a change of arguments or replies is a new file.
local head, core, users, deltas = KEYS[1], KEYS[2], KEYS[3], KEYS[4]
local after = ARGV[1]

local revision = redis.call('HGET', head, 'revision')
if not revision or redis.call('EXISTS', core) == 0 then
  return { 'none' }
end
local schema = redis.call('HGET', head, 'schema') or '0'
if after ~= '' then
  if tonumber(revision) <= tonumber(after) then
    return { 'level', revision, schema }
  end
  local entries = redis.call('XRANGE', deltas, '(' .. after .. '-0', '+')
  -- Fields are {'from', revision, 'delta', packed}. A delta that begins elsewhere does not lead from here.
  if #entries > 0 and entries[1][2][2] == after and entries[#entries][1] == revision .. '-0' then
    local reply = { 'deltas', revision, schema }
    for i, entry in ipairs(entries) do
      reply[3 + i] = entry[2][4]
    end
    return reply
  end
end
local reply = { 'whole', revision, schema }
if #KEYS > 4 then
  reply[4] = redis.call('GET', core)
  reply[5] = redis.call('HVALS', users)
  for i = 5, #KEYS do
    reply[i + 1] = redis.call('HVALS', KEYS[i])
  end
end
return reply
