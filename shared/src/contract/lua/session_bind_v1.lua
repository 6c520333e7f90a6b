-- Binds a session if the expected generation is in force, or none; tells a move to all nodes.
--
-- KEYS  1 binding (hash: provider, identity, generation, slow; only generation: the last one, which ended)
-- ARGV  1 milliseconds it lives  2 channel  3 session key  4 expected generation, or ""  5 provider  6 identity
-- Returns {provider, identity, generation, slow turns} in force afterwards
--
-- Generations come from the clock, so that none comes twice although nothing is kept of a session that expired. They are
-- below 2^53 and never become text by themselves: that keeps 14 digits.
local bound = redis.call('HMGET', KEYS[1], 'provider', 'identity', 'generation', 'slow')
redis.call('PEXPIRE', KEYS[1], ARGV[1])
if bound[1] and bound[3] ~= ARGV[4] then
  return bound
end
local time = redis.call('TIME')
local now = tonumber(time[1]) * 1000000 + tonumber(time[2])
local generation = string.format('%.0f', math.max(tonumber(bound[3] or '0') + 1, now))
redis.call('HSET', KEYS[1], 'provider', ARGV[5], 'identity', ARGV[6], 'generation', generation, 'slow', '0')
redis.call('PEXPIRE', KEYS[1], ARGV[1])
if bound[1] then
  redis.call('PUBLISH', ARGV[2], '{"what":"moved","key":"' .. ARGV[3] .. '","provider_id":' .. ARGV[5]
    .. ',"identity":"' .. ARGV[6] .. '","generation":' .. generation .. '}')
end
return {ARGV[5], ARGV[6], generation, '0'}
