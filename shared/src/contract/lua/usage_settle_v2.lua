-- Lets booked records go, out of the consumer's hands and out of the stream, and says how far their journals are in the
-- books.
--
-- KEYS  1 usage (stream)  2.. journals (hashes: taken, watermark, born)
-- ARGV  1 group  2 seconds the hashes live  then a watermark for each journal  then ids
-- Returns how many records were still in the stream.
--
-- A watermark is never lowered. A journal whose hash is gone gets one again: that nothing of it is under way above its
-- watermark makes it send again what is.
local function digits(number)
  return string.format('%.0f', number)
end

for i = 2, #KEYS do
  local known = redis.call('HMGET', KEYS[i], 'taken', 'watermark')
  local watermark = math.max(tonumber(known[2] or '0'), tonumber(ARGV[i + 1]))
  local taken = math.max(tonumber(known[1] or '0'), watermark)
  redis.call('HSET', KEYS[i], 'taken', digits(taken), 'watermark', digits(watermark))
  redis.call('EXPIRE', KEYS[i], ARGV[2])
end

local gone = 0
for i = 2 + #KEYS, #ARGV do
  redis.pcall('XACK', KEYS[1], ARGV[1], ARGV[i])
  gone = gone + redis.call('XDEL', KEYS[1], ARGV[i])
end
return gone
