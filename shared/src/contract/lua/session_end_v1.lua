-- Ends a binding and tells all nodes. Its generation stays for as long as it would have lived: the next is higher.
--
-- KEYS  1 binding (hash)
-- ARGV  1 milliseconds its generation stays  2 channel  3 session key  4 generation that must be in force, or "": any
-- Returns 1 if there was one, else 0
--
-- With "" it is told in any case, of the present generation: a node may still go by one that Redis lost.
local bound = redis.call('HMGET', KEYS[1], 'provider', 'generation')
if ARGV[4] ~= '' and not (bound[1] and bound[2] == ARGV[4]) then
  return 0
end
local generation = ARGV[4]
if generation == '' then
  local time = redis.call('TIME')
  local now = tonumber(time[1]) * 1000000 + tonumber(time[2])
  generation = string.format('%.0f', math.max(tonumber(bound[2] or '0'), now))
end
redis.call('HDEL', KEYS[1], 'provider', 'identity', 'slow')
redis.call('HSET', KEYS[1], 'generation', generation)
redis.call('PEXPIRE', KEYS[1], ARGV[1])
redis.call('PUBLISH', ARGV[2], '{"what":"ended","key":"' .. ARGV[3] .. '","generation":' .. generation .. '}')
return bound[1] and 1 or 0
