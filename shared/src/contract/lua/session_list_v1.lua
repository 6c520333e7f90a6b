-- Lists active sessions after a place, the one last seen first.
--
-- KEYS  1 documents  2 requests  3 first seen (hashes by session key)  4 last seen (sorted set of session keys)
-- ARGV  1 milliseconds a session is active  2 how many  3 when the session there was last seen, or ""  4 which it is
-- Returns for each: key, last seen, document, requests, first seen
--
-- Of those seen in the same millisecond the greatest key comes first. Filters are not applied here: Redis serves
-- requests meanwhile.
local docs, requests, first, seen = KEYS[1], KEYS[2], KEYS[3], KEYS[4]
local count = tonumber(ARGV[2])
local time = redis.call('TIME')
local now = tonumber(time[1]) * 1000 + math.floor(tonumber(time[2]) / 1000)
local oldest = '(' .. string.format('%.0f', now - tonumber(ARGV[1]))

local found = {}
local from = '+inf'
if ARGV[3] ~= '' then
  from = '(' .. ARGV[3]
  if tonumber(ARGV[3]) > now - tonumber(ARGV[1]) then
    for _, key in ipairs(redis.call('ZREVRANGEBYSCORE', seen, ARGV[3], ARGV[3])) do
      if key < ARGV[4] and #found < 2 * count then
        found[#found + 1] = key
        found[#found + 1] = ARGV[3]
      end
    end
  end
end
local rest = count - #found / 2
if rest > 0 then
  local more = redis.call('ZREVRANGEBYSCORE', seen, from, oldest, 'WITHSCORES', 'LIMIT', '0', string.format('%.0f', rest))
  for _, word in ipairs(more) do
    found[#found + 1] = word
  end
end
local reply = {}
for i = 1, #found, 2 do
  local key = found[i]
  reply[#reply + 1] = key
  reply[#reply + 1] = found[i + 1]
  reply[#reply + 1] = redis.call('HGET', docs, key) or ''
  reply[#reply + 1] = redis.call('HGET', requests, key) or '0'
  reply[#reply + 1] = redis.call('HGET', first, key) or found[i + 1]
end
return reply
