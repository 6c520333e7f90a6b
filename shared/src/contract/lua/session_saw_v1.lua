-- Remembers sessions as active, and forgets those that are not any more.
--
-- KEYS  1 documents  2 requests  3 first seen (hashes by session key)  4 last seen (sorted set of session keys)
-- ARGV  1 milliseconds a session is active  2 sessions that are remembered  3 now by the teller's clock
--       4.. each session: key, document, requests, first seen, last seen by that clock
-- Returns how many are remembered
--
-- What is kept are moments of Redis's clock: a node whose clock is wrong neither hides its sessions nor keeps them.
-- `contract::session::ActiveSession::merge` says how two tellings add up.
local docs, requests, first, seen = KEYS[1], KEYS[2], KEYS[3], KEYS[4]
local ttl, told_at = tonumber(ARGV[1]), tonumber(ARGV[3])
local time = redis.call('TIME')
local now = tonumber(time[1]) * 1000 + math.floor(tonumber(time[2]) / 1000)
local function digits(number)
  return string.format('%.0f', number)
end
local function forget(key)
  redis.call('HDEL', docs, key)
  redis.call('HDEL', requests, key)
  redis.call('HDEL', first, key)
  redis.call('ZREM', seen, key)
end

for i = 4, #ARGV, 5 do
  local key = ARGV[i]
  local last_at = now - math.max(told_at - tonumber(ARGV[i + 4]), 0)
  local first_at = math.min(now - (told_at - tonumber(ARGV[i + 3])), last_at)
  local before = tonumber(redis.call('ZSCORE', seen, key) or '-1')
  if before >= 0 and now - before >= ttl then
    forget(key)
    before = -1
  end
  if now - last_at < ttl then
    first_at = math.min(first_at, tonumber(redis.call('HGET', first, key) or digits(first_at)))
    redis.call('HSET', first, key, digits(first_at))
    redis.call('HINCRBY', requests, key, ARGV[i + 2])
    if last_at >= before then
      redis.call('HSET', docs, key, ARGV[i + 1])
      redis.call('ZADD', seen, digits(last_at), key)
    end
  end
end

-- At most so many at a time: whoever tells next goes on.
for _, key in ipairs(redis.call('ZRANGEBYSCORE', seen, '-inf', digits(now - ttl), 'LIMIT', '0', '1000')) do
  forget(key)
end
local over = redis.call('ZCARD', seen) - tonumber(ARGV[2])
if over > 0 then
  for _, key in ipairs(redis.call('ZRANGE', seen, '0', digits(math.min(over, 1000) - 1))) do
    forget(key)
  end
end
return redis.call('ZCARD', seen)
