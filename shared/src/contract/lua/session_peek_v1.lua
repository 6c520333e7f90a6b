-- Reads the binding in force and leaves its life as it is.
-- KEYS  1 binding (hash)
-- Returns {provider, identity, generation, slow turns}, or {} when none is
local bound = redis.call('HMGET', KEYS[1], 'provider', 'identity', 'generation', 'slow')
if not bound[1] then
  return {}
end
return bound
