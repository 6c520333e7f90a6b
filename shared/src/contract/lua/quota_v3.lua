-- Budgets of one account: what it spent, what is held, and the decisions over both, in one moment. The rules, in words and in
-- Rust: shared/src/rules/quota. `Account` is the model that this is held to, word for word.
--
-- KEYS  1 head (hash: epoch, open, life). All other keys of the account are named after it and share its hash tag, so that they
--         lie on one node; which of them are needed is known here only: a hold that runs out may be of any key.
-- ARGV  1 word: "admit" | "settle" | "give_back" | "release" | "release_holds" | "release_owner" | "declare" | "life" | "open" |
--         "keep" | "standing"
--       2 what it says, as JSON
-- Returns {now, …}, by word: see `reply` there.
--
-- Amounts are nano-USD from 0 to 2^53 - 1, which a double holds exactly. They become text by `digits` alone, and never go
-- through cjson on the way out. Deployed beside other versions: another rule or format is a new file and new keys.
local MOST = 9007199254740991
local HOUR, DAY = 3600000, 86400000
local FIVE_HOURS = 5 * HOUR
local CELL = { five = 300000, day = 900000 }
local MINUTE, MINUTE_CELL = 60000, 5000
local MOST_SUMS = 16
local TOMBSTONE, CORRECTED_WITHIN = 600000, 8 * DAY
local ESCROW = 2147483648
local LEAST_NEEDS, ROOM_PARTS = 4, 50

local head = KEYS[1]
local base = string.sub(head, 1, -5)
local word, say = ARGV[1], cjson.decode(ARGV[2])
local time = redis.call('TIME')
local now = tonumber(time[1]) * 1000 + math.floor(tonumber(time[2]) / 1000)

local function digits(number)
  return string.format('%.0f', number)
end

local function plus(sum, amount)
  return math.min(math.max(sum + amount, 0), MOST)
end

local function name(kind, scope)
  return base .. kind .. (scope and (':' .. scope) or '')
end

-- A Redis that starts again may have an old copy of what it had: `run_id` tells starts apart.
local run
local function run_id()
  run = run or string.match(redis.call('INFO', 'server'), 'run_id:(%w+)')
  return run
end

local function is_of_this_run(life)
  return life and string.match(life, '^%w+') == run_id()
end

local epoch = tonumber(redis.call('HGET', head, 'epoch') or '0')
local was_open = redis.call('HGET', head, 'open') == '1'
-- An old copy is not open, though nobody may know yet that it is one: what was spent since is not in it.
local is_open = was_open and is_of_this_run(redis.call('HGET', head, 'life'))

local function absent(value)
  return value == nil or value == cjson.null
end

-- What one scope spent (`spent.rs`) ---------------------------------------------------------------------------------

local function around(edges)
  if now < edges[2] then
    return edges[1], edges[2]
  elseif now < edges[3] then
    return edges[2], edges[3]
  end
  return edges[3], edges[4]
end

-- A hash of numbers as pairs, by growing key.
local function numbers(key)
  local flat = redis.call('HGETALL', key)
  local pairs_ = {}
  for i = 1, #flat, 2 do
    pairs_[#pairs_ + 1] = { tonumber(flat[i]), tonumber(flat[i + 1]) }
  end
  table.sort(pairs_, function(a, b) return a[1] < b[1] end)
  return pairs_
end

local function get(scope, field)
  local value = redis.call('HGET', name('scope', scope), field)
  return value and tonumber(value)
end

local function set(scope, field, number)
  redis.call('HSET', name('scope', scope), field, digits(number))
end

local function first_cell(kind, width)
  return math.floor((now - width) / CELL[kind])
end

local function cells_within(scope, kind, width)
  local sum = 0
  local first = first_cell(kind, width)
  for _, cell in ipairs(numbers(name(kind, scope))) do
    if cell[1] >= first then
      sum = plus(sum, cell[2])
    end
  end
  return sum
end

local function since_unkept(scope, start)
  local newest = get(scope, 'newest')
  if not newest or newest < start then
    return 0
  end
  local older = 0
  for _, sum in ipairs(numbers(name('sums', scope))) do
    if sum[1] <= start then
      older = sum[2]
    end
  end
  local cell = math.floor(start / CELL.day)
  local cells = numbers(name('day', scope))
  if cells[1] and cells[1][1] < cell then
    local sum = 0
    for _, one in ipairs(cells) do
      if one[1] >= cell then
        sum = plus(sum, one[2])
      end
    end
    return math.min(older, sum)
  end
  return older
end

local function since(scope, start)
  local sum = redis.call('HGET', name('sums', scope), digits(start))
  return sum and tonumber(sum) or since_unkept(scope, start)
end

local function keep_sums(scope, terms)
  redis.call('SADD', name('scopes'), scope)
  local key = name('sums', scope)
  local wanted = { 0, (around(terms.day)), (around(terms.week)), (around(terms.month)) }
  for _, marker in ipairs({ 'reset_at', 'five_hours_reset_at' }) do
    if not absent(terms[marker]) then
      wanted[#wanted + 1] = terms[marker]
    end
  end
  local is_wanted = {}
  for _, start in ipairs(wanted) do
    is_wanted[digits(start)] = true
    if redis.call('HEXISTS', key, digits(start)) == 0 then
      redis.call('HSET', key, digits(start), digits(since_unkept(scope, start)))
    end
  end
  if redis.call('HLEN', key) > MOST_SUMS then
    for _, start in ipairs(redis.call('HKEYS', key)) do
      if tonumber(start) < now - DAY and not is_wanted[start] then
        redis.call('HDEL', key, start)
      end
    end
  end
end

local function add_to_cells(scope, kind, width, at, amount)
  local key = name(kind, scope)
  local first = first_cell(kind, width)
  for _, cell in ipairs(redis.call('HKEYS', key)) do
    if tonumber(cell) < first then
      redis.call('HDEL', key, cell)
    end
  end
  local cell = math.floor(at / CELL[kind])
  if cell >= first then
    local kept = tonumber(redis.call('HGET', key, digits(cell)) or '0')
    redis.call('HSET', key, digits(cell), digits(plus(kept, amount)))
  end
end

-- The five hours from the first spending on: start, not before, amount.
local function first_spend(scope)
  local start = get(scope, 'first')
  if start then
    return { start = start, not_before = get(scope, 'first_not_before'), amount = get(scope, 'first_amount') }
  end
end

local function keep_first(scope, start, not_before, amount)
  set(scope, 'first', start)
  set(scope, 'first_not_before', not_before)
  set(scope, 'first_amount', amount)
end

-- What is heard of late may have begun five hours that are over by now: then it belongs to those, and these stay as they are.
local function add_to_first(scope, at, amount)
  local newest = get(scope, 'newest') or at
  local first = first_spend(scope)
  if not first then
    if amount > 0 then
      keep_first(scope, at, 0, plus(0, amount))
    end
  elseif at < first.not_before then
    return
  elseif at >= first.start + FIVE_HOURS then
    if amount > 0 then
      keep_first(scope, at, first.start + FIVE_HOURS, plus(0, amount))
    end
  elseif at < first.start and amount > 0 and at + FIVE_HOURS <= newest then
    keep_first(scope, first.start, math.min(at + FIVE_HOURS, first.start), first.amount)
  else
    local start = amount > 0 and math.min(first.start, at) or first.start
    keep_first(scope, start, first.not_before, plus(first.amount, amount))
  end
end

local function add(scope, at, amount)
  redis.call('SADD', name('scopes'), scope)
  local key = name('sums', scope)
  for _, sum in ipairs(numbers(key)) do
    if sum[1] <= at then
      redis.call('HSET', key, digits(sum[1]), digits(plus(sum[2], amount)))
    end
  end
  add_to_cells(scope, 'five', FIVE_HOURS, at, amount)
  add_to_cells(scope, 'day', DAY, at, amount)
  add_to_first(scope, at, amount)
  if amount > 0 then
    set(scope, 'newest', math.max(get(scope, 'newest') or at, at))
  end
end

local function within(scope, window)
  local of_span
  if window.span == 'calendar' then
    of_span = since(scope, (around(window.edges)))
  elseif window.span == 'ever' then
    of_span = since(scope, 0)
  elseif window.span == 'rolling' then
    of_span = cells_within(scope, window.width == FIVE_HOURS and 'five' or 'day', window.width)
  else
    local first = first_spend(scope)
    of_span = first and now < first.start + FIVE_HOURS and first.amount or 0
  end
  if not absent(window.reset_at) and window.reset_at <= now then
    return math.min(of_span, since(scope, window.reset_at))
  end
  return of_span
end

local function room_at(scope, window, surplus)
  if window.span == 'calendar' then
    local _, ends = around(window.edges)
    return ends
  elseif window.span == 'rolling' then
    local kind = window.width == FIVE_HOURS and 'five' or 'day'
    local gone, first = 0, first_cell(kind, window.width)
    for _, cell in ipairs(numbers(name(kind, scope))) do
      if cell[1] >= first then
        gone = plus(gone, cell[2])
        if gone >= surplus then
          return (cell[1] + 1) * CELL[kind] + window.width
        end
      end
    end
  elseif window.span == 'first' then
    local first = first_spend(scope)
    if first and now < first.start + FIVE_HOURS then
      return first.start + FIVE_HOURS
    end
  end
end

local function stretch(scope, window)
  local starts, ends
  if window.span == 'calendar' then
    starts, ends = around(window.edges)
  elseif window.span == 'rolling' then
    starts = now - window.width
  elseif window.span == 'first' then
    local first = first_spend(scope)
    if first and now < first.start + FIVE_HOURS then
      starts, ends = first.start, first.start + FIVE_HOURS
    end
  end
  if not absent(window.reset_at) and window.reset_at <= now then
    starts = math.max(starts or window.reset_at, window.reset_at)
  end
  return starts, ends
end

-- Holds (`account.rs`) -----------------------------------------------------------------------------------------------

local function held(scope)
  return get(scope, 'held') or 0
end

-- What was put aside ahead (`escrow.rs`) is known by the number of its name.
local function is_escrow(id)
  return tonumber(string.match(id, '#(%d+)$')) >= ESCROW
end

local function put_aside(scope, amount, in_escrow)
  redis.call('SADD', name('scopes'), scope)
  set(scope, 'held', plus(held(scope), amount))
  if in_escrow then
    set(scope, 'escrowed', plus(get(scope, 'escrowed') or 0, amount))
  end
end

-- A hold as text: owner, amount, at, deadline, charged, declared, scopes.
local function find_hold(id)
  local text = redis.call('HGET', name('holds'), id)
  if not text then
    return nil
  end
  local hold = { scopes = {} }
  local parts = {}
  for part in string.gmatch(text, '[^|]+') do
    parts[#parts + 1] = part
  end
  hold.owner, hold.amount, hold.at = parts[1], tonumber(parts[2]), tonumber(parts[3])
  hold.deadline, hold.is_charged, hold.is_declared = tonumber(parts[4]), parts[5] == '1', parts[6] == '1'
  for i = 7, #parts do
    hold.scopes[#hold.scopes + 1] = parts[i]
  end
  return hold
end

local function keep_hold(id, hold)
  local parts = { hold.owner, digits(hold.amount), digits(hold.at), digits(hold.deadline),
    hold.is_charged and '1' or '0', hold.is_declared and '1' or '0' }
  for _, scope in ipairs(hold.scopes) do
    parts[#parts + 1] = scope
  end
  redis.call('HSET', name('holds'), id, table.concat(parts, '|'))
  local due = hold.is_charged and hold.deadline + CORRECTED_WITHIN or hold.deadline
  redis.call('ZADD', name('due'), digits(due), id)
end

local function drop_hold(id)
  redis.call('HDEL', name('holds'), id)
  redis.call('ZREM', name('due'), id)
  redis.call('HDEL', name('returned'), id)
end

local function let_go(id, hold)
  for _, scope in ipairs(hold.scopes) do
    put_aside(scope, -hold.amount, is_escrow(id))
  end
end

local function forget(id, hold)
  if hold.is_charged then
    for _, scope in ipairs(hold.scopes) do
      add(scope, hold.at, -hold.amount)
    end
  else
    let_go(id, hold)
  end
end

-- Takes so much of an escrow, or what is left of it; returns when it was put aside, nil when there is none.
local function take(id, amount)
  local hold = is_escrow(id) and find_hold(id)
  if not hold then
    return nil
  end
  amount = math.min(amount, hold.amount)
  hold.amount = hold.amount - amount
  keep_hold(id, hold)
  hold.amount = amount
  forget(id, hold)
  return hold.at
end

-- Remembers that a hold is over (`over.rs`): 'given_up', which it is in every epoch, or 'charged', which only this one knows.
local function remember(kind, id, for_ms)
  local till = math.max(now + for_ms, tonumber(redis.call('ZSCORE', name(kind), id) or '0'))
  redis.call('ZADD', name(kind), digits(till), id)
end

local function is_over(id)
  return redis.call('ZSCORE', name('given_up'), id) or redis.call('ZSCORE', name('charged'), id)
end

local function is_unsure(hold)
  return not hold or hold.is_declared
end

local function bury(id, hold, is_interrupted)
  if is_interrupted or is_unsure(hold) then
    remember('charged', id, is_interrupted and CORRECTED_WITHIN or TOMBSTONE)
  end
end

-- The older request first, then by attempt: which spending is the first of five hours is a matter of order.
local function is_before(one, other)
  local request, attempt = string.match(one, '^(.*)#(%d+)$')
  local other_request, other_attempt = string.match(other, '^(.*)#(%d+)$')
  if request ~= other_request then
    return request < other_request
  end
  return tonumber(attempt) < tonumber(other_attempt)
end

local function expire()
  if is_open then
    local due = redis.call('ZRANGEBYSCORE', name('due'), '-inf', digits(now))
    table.sort(due, is_before)
    for _, id in ipairs(due) do
      local hold = find_hold(id)
      if hold and not hold.is_charged then
        let_go(id, hold)
        for _, scope in ipairs(hold.scopes) do
          add(scope, hold.at, hold.amount)
        end
        hold.is_charged = true
        keep_hold(id, hold)
      end
      if not hold or now >= hold.deadline + CORRECTED_WITHIN then
        drop_hold(id)
      end
    end
  end
  for _, kind in ipairs({ 'given_up', 'charged' }) do
    redis.call('ZREMRANGEBYSCORE', name(kind), '-inf', digits(now))
  end
  for _, journal in ipairs(redis.call('ZRANGEBYSCORE', name('gone'), '-inf', digits(now))) do
    redis.call('ZREM', name('gone'), journal)
    redis.call('HDEL', name('journals'), journal)
  end
end

local function clear()
  for _, scope in ipairs(redis.call('SMEMBERS', name('scopes'))) do
    for _, kind in ipairs({ 'scope', 'sums', 'five', 'day', 'minute', 'sessions' }) do
      redis.call('DEL', name(kind, scope))
    end
  end
  redis.call('DEL', name('scopes'), name('holds'), name('due'), name('returned'), name('journals'),
    name('charged'))
  is_open = false
  redis.call('HSET', head, 'open', '0')
end

local function reach(newer)
  if newer > epoch then
    clear()
    epoch = newer
    redis.call('HSET', head, 'epoch', digits(epoch))
  end
end

local function let_in(ask, at, is_declared)
  local hold = { owner = ask.owner, amount = plus(0, ask.need), at = at, deadline = at + ask.lives_ms,
    is_charged = false, is_declared = is_declared, scopes = {} }
  for _, scope in ipairs(ask.scopes) do
    local id = scope.id
    put_aside(id, hold.amount, is_escrow(ask.hold))
    if ask.is_counted and not is_declared then
      local key, first = name('minute', id), math.floor((at - MINUTE) / MINUTE_CELL)
      for _, cell in ipairs(redis.call('HKEYS', key)) do
        if tonumber(cell) < first then
          redis.call('HDEL', key, cell)
        end
      end
      redis.call('HINCRBY', key, digits(math.floor(at / MINUTE_CELL)), 1)
    end
    if not absent(ask.session) and not is_declared then
      redis.call('ZREMRANGEBYSCORE', name('sessions', id), '-inf', digits(at - ask.session_ttl_ms))
      redis.call('ZADD', name('sessions', id), digits(at), ask.session)
      set(id, 'session_ttl', ask.session_ttl_ms)
    end
    hold.scopes[#hold.scopes + 1] = id
  end
  keep_hold(ask.hold, hold)
end

local function no_money(scope, window, need)
  local spent, under_way = within(scope.id, window), held(scope.id)
  local wanted = plus(plus(spent, under_way), plus(0, need))
  if wanted <= window.limit and spent < window.limit then
    return nil
  end
  local opens
  if need <= window.limit then
    opens = room_at(scope.id, window, math.max(wanted - window.limit, 1))
  end
  return { scope.id, 'money', window.kind, digits(spent), digits(under_way),
    digits(get(scope.id, 'escrowed') or 0), opens and digits(opens) or '' }
end

local function no_session(scope, ask)
  local limit = scope.sessions
  if absent(limit) or limit == 0 or absent(ask.session) then
    return nil
  end
  local key, oldest = name('sessions', scope.id), '(' .. digits(now - ask.session_ttl_ms)
  local seen = redis.call('ZSCORE', key, ask.session)
  local current = redis.call('ZCOUNT', key, oldest, '+inf')
  if (seen and now < tonumber(seen) + ask.session_ttl_ms) or current < limit then
    return nil
  end
  local first = redis.call('ZRANGEBYSCORE', key, oldest, '+inf', 'WITHSCORES', 'LIMIT', 0, 1)
  local opens = first[2] and digits(tonumber(first[2]) + ask.session_ttl_ms) or ''
  return { scope.id, 'sessions', '', digits(current), '', '', opens }
end

local function no_request(scope, ask)
  local limit = scope.requests
  if absent(limit) or limit == 0 or not ask.is_counted then
    return nil
  end
  local first, current, cells = math.floor((now - MINUTE) / MINUTE_CELL), 0, {}
  for _, cell in ipairs(numbers(name('minute', scope.id))) do
    if cell[1] >= first then
      cells[#cells + 1] = cell
      current = current + cell[2]
    end
  end
  if current < limit then
    return nil
  end
  local leaving, opens = current - limit + 1, ''
  for _, cell in ipairs(cells) do
    leaving = leaving - cell[2]
    if leaving <= 0 then
      opens = digits((cell[1] + 1) * MINUTE_CELL + MINUTE)
      break
    end
  end
  return { scope.id, 'requests', '', digits(current), '', '', opens }
end

local function each_scope(ask, check)
  for _, scope in ipairs(ask.scopes) do
    local refusal = check(scope)
    if refusal then
      return refusal
    end
  end
end

local function money(ask, kind)
  return each_scope(ask, function(scope)
    for _, window in ipairs(scope.windows) do
      if window.kind == kind then
        return no_money(scope, window, ask.need)
      end
    end
  end)
end

local function refusal(ask)
  local found = money(ask, 'total')
    or each_scope(ask, function(scope) return no_session(scope, ask) end)
    or each_scope(ask, function(scope) return no_request(scope, ask) end)
  for _, kind in ipairs({ '5h', 'daily', 'weekly', 'monthly' }) do
    found = found or money(ask, kind)
  end
  return found
end

-- How many came within the minute, and when none of them counts any more, or ''.
local function requests_now(scope)
  local first, current, ends = math.floor((now - MINUTE) / MINUTE_CELL), 0, ''
  for _, cell in ipairs(numbers(name('minute', scope))) do
    if cell[1] >= first then
      current = current + cell[2]
      ends = digits((cell[1] + 1) * MINUTE_CELL + MINUTE)
    end
  end
  return digits(current), ends
end

local function sessions_now(scope)
  local ttl = get(scope, 'session_ttl') or 0
  return digits(redis.call('ZCOUNT', name('sessions', scope), '(' .. digits(now - ttl), '+inf'))
end

-- In the order asked, of each scope five values for each window: spent, held, in escrow, when it began or '', when it begins anew or
-- ''; then what `requests_now` and `sessions_now` say, where these are limited.
local function standing(scopes, reply)
  for _, scope in ipairs(scopes) do
    for _, window in ipairs(scope.windows) do
      local starts, ends = stretch(scope.id, window)
      reply[#reply + 1] = digits(within(scope.id, window))
      reply[#reply + 1] = digits(held(scope.id))
      reply[#reply + 1] = digits(get(scope.id, 'escrowed') or 0)
      reply[#reply + 1] = starts and digits(starts) or ''
      reply[#reply + 1] = ends and digits(ends) or ''
    end
    if not absent(scope.requests) and scope.requests > 0 then
      local current, resets = requests_now(scope.id)
      reply[#reply + 1] = current
      reply[#reply + 1] = resets
    end
    if not absent(scope.sessions) and scope.sessions > 0 then
      reply[#reply + 1] = sessions_now(scope.id)
    end
  end
  return reply
end

local function charge(one)
  local id = one.hold
  local hold = find_hold(id)
  drop_hold(id)
  if not hold and one.is_interrupted and is_over(id) then
    return
  end
  local amount, at = plus(0, one.cost), math.min(one.at, now)
  if hold then
    at = hold.at
    if hold.is_charged then
      amount = amount - hold.amount
    else
      let_go(id, hold)
    end
    bury(id, hold, one.is_interrupted)
  else
    local put_aside_at = not absent(one.from) and take(one.from, amount)
    if put_aside_at then
      at = math.max(at, put_aside_at)
    else
      bury(id, nil, one.is_interrupted)
    end
  end
  for _, scope in ipairs(one.scopes) do
    keep_sums(scope.id, scope)
    add(scope.id, at, amount)
  end
end

local function charge_no_more(id, is_interrupted)
  local hold = find_hold(id)
  drop_hold(id)
  bury(id, hold, is_interrupted)
  if hold then
    forget(id, hold)
  end
end

local function release(id)
  local hold = find_hold(id)
  drop_hold(id)
  if is_unsure(hold) then
    remember('given_up', id, TOMBSTONE)
  end
  if hold then
    forget(id, hold)
  end
end

local function take_back(backs)
  for _, back in ipairs(backs) do
    local id = back.escrow
    if absent(back.returned) then
      release(id)
    elseif is_escrow(id) and find_hold(id) then
      local returned = plus(0, back.returned)
      local known = tonumber(redis.call('HGET', name('returned'), id) or '0')
      if returned > known then
        redis.call('HSET', name('returned'), id, digits(returned))
        take(id, returned - known)
      end
    end
  end
end

-- Whole parts of an amount, without a fraction that a double would round.
local function parts_of(amount, parts)
  return (amount - math.fmod(amount, parts)) / parts
end

local function put_aside_ahead(ask)
  local ahead, room = ask.ahead, nil
  if absent(ahead) or find_hold(ahead.escrow) or is_over(ahead.escrow) then
    return
  end
  for _, scope in ipairs(ask.scopes) do
    for _, window in ipairs(scope.windows) do
      local left = plus(0, window.limit - plus(within(scope.id, window), held(scope.id)))
      room = math.min(room or left, left)
    end
  end
  if not room then
    return
  end
  local share = parts_of(room, 2 * math.max(ahead.nodes, 1))
  local amount = math.min(math.max(ahead.worth, parts_of(room, ROOM_PARTS)), share)
  if amount >= math.max(ask.need * LEAST_NEEDS, 1) then
    let_in({ hold = ahead.escrow, owner = ask.owner, need = amount, lives_ms = ask.lives_ms,
      is_counted = false, scopes = ask.scopes }, now, false)
  end
end

local function admitted(ask, at)
  local escrow = not absent(ask.ahead) and find_hold(ask.ahead.escrow)
  local reply = { digits(now), 'admitted', digits(at), digits(escrow and escrow.amount or 0) }
  return standing(ask.scopes, reply)
end

-- Words --------------------------------------------------------------------------------------------------------------

local words = {}

-- Reply: now, "unseeded" or "over"; or "admitted", at, put aside ahead, standing; or "refused", scope, what, window, count, held, in
-- escrow, opens.
function words.admit()
  expire()
  if not is_open or epoch ~= say.epoch then
    return { digits(now), 'unseeded' }
  end
  for _, scope in ipairs(say.scopes) do
    keep_sums(scope.id, scope)
  end
  local known = find_hold(say.hold)
  if known then
    return admitted(say, known.at)
  end
  if is_over(say.hold) or redis.call('ZSCORE', name('gone'), say.owner) then
    return { digits(now), 'over' }
  end
  local refused = refusal(say)
  if refused then
    return { digits(now), 'refused', unpack(refused) }
  end
  let_in(say, now, false)
  put_aside_ahead(say)
  return admitted(say, now)
end

-- Reply: now, 1 if it is settled, 0 if the account is not open in this epoch.
function words.settle()
  expire()
  if not is_open or epoch ~= say.epoch then
    return { digits(now), 0 }
  end
  local known = tonumber(redis.call('HGET', name('journals'), say.journal) or '0')
  local last = known
  for _, one in ipairs(say.charges) do
    last = math.max(last, one.seq)
    if one.seq <= known then
      charge_no_more(one.hold, false)
    else
      charge(one)
    end
  end
  redis.call('HSET', name('journals'), say.journal, digits(last))
  take_back(say.backs)
  return { digits(now), 1 }
end

function words.give_back()
  expire()
  take_back(say.backs)
  return { digits(now) }
end

function words.release()
  expire()
  release(say.hold)
  return { digits(now) }
end

local function forget_holds(owner)
  for _, id in ipairs(redis.call('HKEYS', name('holds'))) do
    local hold = find_hold(id)
    if hold and hold.owner == owner then
      drop_hold(id)
      forget(id, hold)
    end
  end
end

function words.release_holds()
  if is_open and epoch == say.epoch then
    forget_holds(say.owner)
  end
  return { digits(now) }
end

function words.release_owner()
  forget_holds(say.owner)
  redis.call('ZADD', name('gone'), digits(now + CORRECTED_WITHIN), say.owner)
  return { digits(now) }
end

function words.declare()
  reach(say.epoch)
  local known = find_hold(say.hold)
  if epoch == say.epoch and known then
    known.is_declared = true
    keep_hold(say.hold, known)
  elseif epoch == say.epoch and not is_over(say.hold) and not redis.call('ZSCORE', name('gone'), say.owner) then
    let_in(say, say.at, true)
  end
  return { digits(now) }
end

-- Reply: now, and in which life it is to be opened; or '': it is open in this epoch.
function words.life()
  if is_open and epoch == say.epoch then
    return { digits(now), '' }
  end
  local life = redis.call('HGET', head, 'life')
  if not is_of_this_run(life) then
    if was_open then
      clear()
    end
    life = table.concat({ run_id(), time[1], time[2] }, ':')
    redis.call('HSET', head, 'life', life)
  end
  return { digits(now), life }
end

-- Reply: now, 1 if it is open in this epoch, 0 if it is not.
function words.open()
  if is_open and epoch == say.epoch then
    return { digits(now), 1 }
  end
  local life = redis.call('HGET', head, 'life')
  if say.epoch < epoch or life ~= say.life or not is_of_this_run(life) then
    return { digits(now), 0 }
  end
  reach(say.epoch)
  is_open = true
  redis.call('HSET', head, 'epoch', digits(epoch), 'open', '1')
  redis.call('DEL', name('journals'))
  for _, one in ipairs(say.journals) do
    redis.call('HSET', name('journals'), one.journal, digits(one.seq))
  end
  for _, id in ipairs(say.interrupted) do
    charge_no_more(id, true)
  end
  for _, scope in ipairs(say.scopes) do
    keep_sums(scope.id, scope)
    for _, spend in ipairs(scope.spends or {}) do
      add(scope.id, spend[1], spend[2])
    end
  end
  return { digits(now), 1 }
end

function words.keep()
  for _, scope in ipairs(say.scopes) do
    keep_sums(scope.id, scope)
  end
  return { digits(now) }
end

-- Reply: now, 1 if it is open in this epoch, standing.
function words.standing()
  return standing(say.scopes, { digits(now), (is_open and epoch == say.epoch) and 1 or 0 })
end

return words[word]()
