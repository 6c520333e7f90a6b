-- Forgets that a session is active.
-- KEYS  1 documents  2 requests  3 first seen (hashes by session key)  4 last seen (sorted set of session keys)
-- ARGV  1 session key
-- Returns 1 if it was, else 0
for i = 1, 3 do
  redis.call('HDEL', KEYS[i], ARGV[1])
end
return redis.call('ZREM', KEYS[4], ARGV[1])
