-- Tells who made a response.
-- KEYS  1 makers (hash: response key -> "<provider>:<second>")
-- ARGV  1 response key  2 seconds it is remembered
-- Returns the provider's id, or nil when nobody is remembered
local made = redis.call('HGET', KEYS[1], ARGV[1])
if not made then
  return false
end
local provider, at = string.match(made, '^(%d+):(%d+)$')
if not provider or tonumber(redis.call('TIME')[1]) - tonumber(at) >= tonumber(ARGV[2]) then
  return false
end
return provider
