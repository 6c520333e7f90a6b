-- Lends usage records to a consumer: first what it holds already, then what a consumer that is gone held too long,
-- then new ones.
--
-- KEYS  1 usage (stream)
-- ARGV  1 group  2 consumer  3 the most records  4 milliseconds after which another consumer's record is taken over
-- Returns {id, journal, seq, floor, record, id, …}; what an entry does not say is empty
--
-- An entry without a record is lent with all its fields as one text: it is kept as what it is. An entry that is held and
-- not in the stream any more was booked: it is let go. A consumer's name lives until it has held nothing for an hour.
local stream, group, consumer, max, idle_ms = KEYS[1], ARGV[1], ARGV[2], ARGV[3], ARGV[4]

if redis.call('EXISTS', stream) == 0 then
  return {}
end
redis.pcall('XGROUP', 'CREATE', stream, group, '0')

local reply = {}
local function lend(entries)
  for _, entry in ipairs(entries) do
    local fields = entry and entry[2]
    if fields then
      local said = {}
      for i = 1, #fields, 2 do
        said[fields[i]] = fields[i + 1]
      end
      reply[#reply + 1] = entry[1]
      reply[#reply + 1] = said.journal or ''
      reply[#reply + 1] = said.seq or ''
      reply[#reply + 1] = said.floor or ''
      reply[#reply + 1] = said.record or table.concat(fields, ' ')
    elseif entry then
      redis.call('XACK', stream, group, entry[1])
    end
  end
end
local function read(from)
  local streams = redis.call('XREADGROUP', 'GROUP', group, consumer, 'COUNT', max, 'STREAMS', stream, from)
  if streams then
    lend(streams[1][2])
  end
end

read('0')
if #reply == 0 then
  lend(redis.call('XAUTOCLAIM', stream, group, consumer, idle_ms, '0-0', 'COUNT', max)[2])
end
if #reply == 0 then
  read('>')
end
if #reply == 0 then
  for _, facts in ipairs(redis.call('XINFO', 'CONSUMERS', stream, group)) do
    local known = {}
    for i = 1, #facts, 2 do
      known[facts[i]] = facts[i + 1]
    end
    if known.name ~= consumer and known.pending == 0 and known.idle > 3600000 then
      redis.call('XGROUP', 'DELCONSUMER', stream, group, known.name)
    end
  end
end
return reply
