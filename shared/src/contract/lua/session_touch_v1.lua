-- Prolongs the life of a binding and counts slow turns.
-- KEYS  1 binding (hash)
-- ARGV  1 milliseconds it lives  2 generation that must be in force  3 "slow", "quick" or ""
-- Returns its slow turns, or -1 when that generation is not in force
local bound = redis.call('HMGET', KEYS[1], 'provider', 'generation', 'slow')
if not bound[1] or bound[2] ~= ARGV[2] then
  return -1
end
redis.call('PEXPIRE', KEYS[1], ARGV[1])
if ARGV[3] == 'slow' then
  return redis.call('HINCRBY', KEYS[1], 'slow', 1)
elseif ARGV[3] == 'quick' then
  redis.call('HSET', KEYS[1], 'slow', '0')
  return 0
end
return tonumber(bound[3])
