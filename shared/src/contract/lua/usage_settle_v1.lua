-- Lets booked records go: out of the consumer's hands and out of the stream.
--
-- KEYS  1 usage (stream)
-- ARGV  1 group  2.. ids
-- Returns how many were still in the stream.
local gone = 0
for i = 2, #ARGV do
  redis.pcall('XACK', KEYS[1], ARGV[1], ARGV[i])
  gone = gone + redis.call('XDEL', KEYS[1], ARGV[i])
end
return gone
