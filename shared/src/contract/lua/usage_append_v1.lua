-- Puts usage records into the stream, as many as there is room for.
--
-- KEYS  1 usage (stream)
-- ARGV  1 bound: entries the stream may have  2.. records as JSON, oldest first
-- Returns how many were taken, from the first on. The others stay with their gateway.
local room = tonumber(ARGV[1]) - redis.call('XLEN', KEYS[1])
local taken = 0
for i = 2, #ARGV do
  if taken >= room then
    break
  end
  redis.call('XADD', KEYS[1], '*', 'record', ARGV[i])
  taken = taken + 1
end
return taken
