-- What the breaker's scripts share; each is this file and its own, as one text. The rules, in words and in Rust:
-- shared/src/rules/breaker.rs and cooldown.rs. `fleet.rs` is the model that these are held to.
--
-- KEYS  1 documents (hash: provider → JSON)  2 versions (sorted set: provider by the number of its last change)
--       3 head (hash: born, last, floor)  4 nodes (sorted set: node by the millisecond it was last heard)
--       5 permits (hash: provider whose probe is out → owner)
-- ARGV  1 channel  2 milliseconds a node is there  3 samples to keep  4 cool-downs to keep  5.. the script's own
--
-- Numbers stay below 10^14, so that cjson writes all their digits, and become text by `digits` alone. An empty list is
-- left out of a document: cjson would write an object. Fields that this release does not know stay as they are.
-- Deployed beside other versions: the names end in the version; a change of arguments, replies or rules is new files, a
-- new schema of documents is new keys.
local docs, versions, head, nodes, permits = KEYS[1], KEYS[2], KEYS[3], KEYS[4], KEYS[5]
local channel, there_ms = ARGV[1], tonumber(ARGV[2])
local max_samples, max_cooldowns = tonumber(ARGV[3]), tonumber(ARGV[4])

local time = redis.call('TIME')
local now = tonumber(time[1]) * 1000 + math.floor(tonumber(time[2]) / 1000)

local function digits(number)
  return string.format('%.0f', number)
end

local function stored(field)
  return tonumber(redis.call('HGET', head, field) or '0')
end
if redis.call('EXISTS', head) == 0 then
  redis.call('HSET', head, 'born', digits(now), 'last', digits(now), 'floor', '0')
end
local born, last, floor = stored('born'), stored('last'), stored('floor')
local number = math.max(last + 1, now)
local is_changed = false

local function is_there(node)
  local heard = redis.call('ZSCORE', nodes, node)
  return heard and math.max(now - tonumber(heard), 0) <= there_ms
end

local function hear(node)
  redis.call('ZADD', nodes, digits(now), node)
end

-- A document and its text; nothing for one that is broken: a provider that nobody can speak of would be stuck.
local function find(id)
  local json = redis.call('HGET', docs, id)
  if json then
    local is_whole, doc = pcall(cjson.decode, json)
    if is_whole and type(doc) == 'table' and doc.generation and doc.terms and doc.state then
      return doc, json
    end
  end
end

local function fresh(id, terms)
  return { schema = 1, provider_id = tonumber(id), version = floor, generation = floor, terms = terms,
    state = 'closed', failures = 0 }
end

-- Keeps the document under the next number and returns it as text.
local function keep(id, doc)
  doc.version = number
  if doc.samples and #doc.samples == 0 then
    doc.samples = nil
  end
  if doc.cooldowns and #doc.cooldowns == 0 then
    doc.cooldowns = nil
  end
  local json = cjson.encode(doc)
  redis.call('HSET', docs, id, json)
  redis.call('ZADD', versions, digits(number), id)
  if doc.permit then
    redis.call('HSET', permits, id, doc.permit.owner)
  else
    redis.call('HDEL', permits, id)
  end
  is_changed = true
  return json
end

-- Announces what was kept.
local function finish()
  if is_changed then
    redis.call('HSET', head, 'last', digits(number))
    redis.call('PUBLISH', channel, digits(number))
  end
end

local function clear()
  redis.call('DEL', docs, versions, permits)
  redis.call('HSET', head, 'floor', digits(number))
  floor = number
  is_changed = true
end

local function same_terms(a, b)
  return a.failure_threshold == b.failure_threshold and a.open_duration_ms == b.open_duration_ms
    and a.half_open_success_threshold == b.half_open_success_threshold and a.account == b.account
end

local function set_state(doc, state)
  doc.state, doc.failures, doc.successes, doc.permit = state, nil, nil, nil
  doc['until'] = nil
  if state == 'closed' then
    doc.failures = 0
  elseif state == 'open' then
    doc['until'] = now + doc.terms.open_duration_ms
  else
    doc.successes = 0
  end
end

local function enter(doc, state, cause)
  set_state(doc, state)
  doc.generation, doc.cause, doc.changed_at = number, cause, now
end

local function drop_all(doc, terms, cause)
  doc.terms, doc.samples, doc.cooldowns = terms, nil, nil
  enter(doc, 'closed', cause)
end

local function witness(doc, sample)
  doc.samples = doc.samples or {}
  if #doc.samples >= max_samples then
    table.remove(doc.samples, 1)
  end
  table.insert(doc.samples, sample)
end

local function is_lapsed(permit)
  return now >= permit['until'] or not is_there(permit.owner)
end

local function is_remembered(cooldown)
  return now < cooldown['until'] + cooldown.memory_ms
end

local function find_cooldown(doc, kind, model)
  for _, cooldown in ipairs(doc.cooldowns or {}) do
    if cooldown.kind == kind and cooldown.model == model then
      return cooldown
    end
  end
end

-- Forgets, and makes room.
local function tidy(doc)
  local kept = {}
  for _, cooldown in ipairs(doc.cooldowns) do
    if is_remembered(cooldown) then
      kept[#kept + 1] = cooldown
    end
  end
  while #kept > max_cooldowns do
    local soonest = 1
    for place = 2, #kept do
      if kept[place]['until'] < kept[soonest]['until'] then
        soonest = place
      end
    end
    table.remove(kept, soonest)
  end
  doc.cooldowns = kept
end
