
-- What changed; keeps the reader there, takes back permits that have lapsed, forgets what nobody spoke of for long.
--
-- ARGV  5 node, or '' to only look  6 the first number the reader knows  7 the last one  8 milliseconds a document is kept
-- Returns {now, 1 if these are all documents, born, last, floor, documents …}
if ARGV[5] ~= '' then
  hear(ARGV[5])
end

local forgotten = redis.call('ZRANGEBYSCORE', versions, '-inf', digits(now - tonumber(ARGV[8])))
for _, id in ipairs(forgotten) do
  redis.call('HDEL', docs, id)
  redis.call('HDEL', permits, id)
  redis.call('ZREM', versions, id)
end
for _, id in ipairs(redis.call('HKEYS', permits)) do
  local doc = find(id)
  if not doc or not doc.permit then
    redis.call('HDEL', permits, id)
  elseif is_lapsed(doc.permit) then
    doc.permit = nil
    keep(id, doc)
  end
end
finish()
last = stored('last')

local is_whole = tonumber(ARGV[6]) ~= born or tonumber(ARGV[7]) > last
local from = is_whole and '-inf' or '(' .. ARGV[7]
local reply = { digits(now), is_whole and 1 or 0, digits(born), digits(last), digits(floor) }
for _, id in ipairs(redis.call('ZRANGEBYSCORE', versions, from, '+inf')) do
  reply[#reply + 1] = redis.call('HGET', docs, id) or nil
end
return reply
