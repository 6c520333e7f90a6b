-- Reads the binding in force and prolongs its life.
-- KEYS  1 binding (hash)
-- ARGV  1 milliseconds it lives
-- Returns {provider, identity, generation, slow turns}, or {} when none is
local bound = redis.call('HMGET', KEYS[1], 'provider', 'identity', 'generation', 'slow')
if not bound[1] then
  return {}
end
redis.call('PEXPIRE', KEYS[1], ARGV[1])
return bound
