-- Takes records of one journal into the stream, in the order of their numbers and as many as there is room for.
--
-- KEYS  1 usage (stream)  2 the journal (hash: taken, watermark, born)
-- ARGV  1 records of the journal that may wait  2 entries the stream may have  3 seconds the hash lives
--       4 journal  5 floor  6 number of the first record  7.. records as JSON
-- Returns {taken, watermark}
--
-- `rules::journal::intake` says what is taken. What the hash says holds only for the stream it was said of, which is
-- known by its `born:…` group: that lives exactly as long as the stream. A stream without entries has nothing under way.
-- In both cases the journal sends again from its watermark. That is harmless; to believe in lost entries is not.
-- Numbers are below 2^53 and never become text by themselves: that keeps 14 digits.
local stream, journal = KEYS[1], KEYS[2]
local floor, first = tonumber(ARGV[5]), tonumber(ARGV[6])
local function digits(number)
  return string.format('%.0f', number)
end

local born
local waiting = 0
if redis.call('EXISTS', stream) == 1 then
  waiting = redis.call('XLEN', stream)
  for _, facts in ipairs(redis.call('XINFO', 'GROUPS', stream)) do
    if string.sub(facts[2], 1, 5) == 'born:' then
      born = facts[2]
    end
  end
end
if not born then
  local now = redis.call('TIME')
  born = 'born:' .. now[1] .. '.' .. now[2]
  redis.call('XGROUP', 'CREATE', stream, born, '$', 'MKSTREAM')
end

local known = redis.call('HMGET', journal, 'taken', 'watermark', 'born')
local watermark = math.max(tonumber(known[2] or '0'), floor)
local taken = watermark
if known[3] == born and waiting > 0 then
  taken = math.max(tonumber(known[1] or '0'), watermark)
end

local count = #ARGV - 6
if first <= taken + 1 then
  local passed_over = math.min(taken + 1 - first, count)
  local room = math.min(tonumber(ARGV[1]) - (taken - watermark), tonumber(ARGV[2]) - waiting)
  local fresh = math.max(math.min(count - passed_over, room), 0)
  for i = 1, fresh do
    taken = taken + 1
    redis.call('XADD', stream, '*', 'journal', ARGV[4], 'seq', digits(taken), 'floor', ARGV[5], 'record',
      ARGV[6 + passed_over + i])
  end
end
redis.call('HSET', journal, 'taken', digits(taken), 'watermark', digits(watermark), 'born', born)
redis.call('EXPIRE', journal, ARGV[3])
return {taken, watermark}
