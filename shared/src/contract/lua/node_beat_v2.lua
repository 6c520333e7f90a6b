-- Keeps a node's sign of life and forgets nodes whose last one is too old.
--
-- KEYS  1 beats (hash)  2 index (sorted set)  3 what runs on the node (string); absent without a node id
-- ARGV  1 seconds a beat counts  2 node id, or "" to only forget  3 beat as JSON, or "" when the node leaves
--       4 what runs on it as JSON, or "" when what it told last still holds
-- Returns the beats of the nodes that are there, in the order of their ids.
-- Beside version 1, which told nothing of what runs: both keep the same beats.
local beats, index = KEYS[1], KEYS[2]
local now = tonumber(redis.call('TIME')[1])

if ARGV[2] ~= '' then
  if ARGV[3] == '' then
    redis.call('HDEL', beats, ARGV[2])
    redis.call('ZREM', index, ARGV[2])
    redis.call('DEL', KEYS[3])
  else
    redis.call('HSET', beats, ARGV[2], ARGV[3])
    redis.call('ZADD', index, now, ARGV[2])
    if ARGV[4] ~= '' then
      -- Never later than the beat it came with: a node that died has none.
      redis.call('SET', KEYS[3], ARGV[4], 'EX', ARGV[1])
    end
  end
end
for _, id in ipairs(redis.call('ZRANGEBYSCORE', index, '-inf', '(' .. (now - tonumber(ARGV[1])))) do
  redis.call('HDEL', beats, id)
  redis.call('ZREM', index, id)
end
local ids = redis.call('HKEYS', beats)
table.sort(ids)
local reply = {}
for _, id in ipairs(ids) do
  reply[#reply + 1] = redis.call('HGET', beats, id)
end
return reply
