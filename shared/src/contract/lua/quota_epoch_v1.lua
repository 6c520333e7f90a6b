-- The epoch of the store of budgets, the accounts that are to be opened in it, and those that are recalled.
--
-- KEYS  1 epoch (hash: epoch, run)  2 wanted (set of names of accounts)
-- ARGV  1 word: "epoch" | "last" | "begin" | "want" | "take" | "recall"
--       2 begin: the epoch; want, recall: a name; take: how many at most
--       3 recall: the channel
-- Returns by word: {epoch}, or {} when none was begun since this Redis started; {epoch}, of whatever start, or {}; {}; {}; names; {}.
--
-- A Redis that starts again may have an old copy of what it had: each start needs an epoch of its own. `run_id` tells starts
-- apart.
local word, say = ARGV[1], ARGV[2]

local function run()
  return string.match(redis.call('INFO', 'server'), 'run_id:(%w+)')
end

if word == 'epoch' then
  local known = redis.call('HMGET', KEYS[1], 'epoch', 'run')
  if known[1] and known[2] == run() then
    return { known[1] }
  end
  return {}
elseif word == 'last' then
  local known = redis.call('HGET', KEYS[1], 'epoch')
  return known and { known } or {}
elseif word == 'begin' then
  redis.call('HSET', KEYS[1], 'epoch', say, 'run', run())
  return {}
elseif word == 'want' then
  redis.call('SADD', KEYS[2], say)
  return {}
elseif word == 'take' then
  return redis.call('SPOP', KEYS[2], say)
elseif word == 'recall' then
  redis.call('PUBLISH', ARGV[3], say)
  return {}
end
return redis.error_reply('no such word')
