-- Says how much usage is not in the books yet.
--
-- KEYS  1 usage (stream)
-- ARGV  1 group
-- Returns {entries, how many of them are lent, id of the oldest entry or ''}
local stream, group = KEYS[1], ARGV[1]
local oldest = redis.call('XRANGE', stream, '-', '+', 'COUNT', 1)[1]
if not oldest then
  return {0, 0, ''}
end
-- Before the first consumer there is no group, and nothing is lent.
local pending = redis.pcall('XPENDING', stream, group)
return {redis.call('XLEN', stream), pending.err and 0 or pending[1], oldest[1]}
