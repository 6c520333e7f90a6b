-- Remembers who made a response; who is told last did.
--
-- KEYS  1 makers (hash: response key -> "<provider>:<second>")  2 order (list: response keys as they came)
-- ARGV  1 response key  2 provider  3 seconds it is remembered  4 how many are remembered at most
-- Returns how many are
--
-- Both keys have the same members. Where one of them was lost alone, what is left would never go: both begin anew.
local now = tonumber(redis.call('TIME')[1])
local count = redis.call('HLEN', KEYS[1])
if count ~= redis.call('LLEN', KEYS[2]) then
  redis.call('DEL', KEYS[1], KEYS[2])
end
if redis.call('HSET', KEYS[1], ARGV[1], ARGV[2] .. ':' .. string.format('%.0f', now)) == 1 then
  redis.call('RPUSH', KEYS[2], ARGV[1])
end
-- One comes, so a few may go: a bound that was lowered, or a quiet month, is caught up with step by step.
for _ = 1, 8 do
  local first = redis.call('LINDEX', KEYS[2], 0)
  local at = string.match(redis.call('HGET', KEYS[1], first) or '', ':(%d+)$')
  local is_over = not at or now - tonumber(at) >= tonumber(ARGV[3])
  if not is_over and redis.call('LLEN', KEYS[2]) <= tonumber(ARGV[4]) then
    break
  end
  redis.call('LPOP', KEYS[2])
  redis.call('HDEL', KEYS[1], first)
  if redis.call('LLEN', KEYS[2]) == 0 then
    return 0
  end
end
redis.call('EXPIRE', KEYS[1], ARGV[3])
redis.call('EXPIRE', KEYS[2], ARGV[3])
return redis.call('LLEN', KEYS[2])
