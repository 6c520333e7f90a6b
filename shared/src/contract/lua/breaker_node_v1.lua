
-- A node starts or goes. One that starts and finds nobody else begins with a clean slate.
--
-- ARGV  5 "join" | "leave"  6 node
-- Returns 1 if all state is gone for that
local node = ARGV[6]
if ARGV[5] == 'leave' then
  redis.call('ZREM', nodes, node)
  return 0
end
redis.call('ZREMRANGEBYSCORE', nodes, '-inf', '(' .. digits(now - there_ms))
local others = redis.call('ZCARD', nodes)
if redis.call('ZSCORE', nodes, node) then
  others = others - 1
end
if others == 0 then
  clear()
end
hear(node)
finish()
return others == 0 and 1 or 0
