
-- How an attempt ended (`rules::breaker::after_report`).
--
-- ARGV  5 provider  6 terms as JSON  7 the newest number its node knew  8 fence of its permit, or ''
--       9 mark: "success" | "failure" | "neutral"  10 sample as JSON
--       11 kind of the cool-down asked for, or ''  12 its model, or ''  13 first  14 longest  15 memory (milliseconds)
--       16 milliseconds up to which two moments are one
-- Returns {now, document or '', 1 if this made a transition}
local id, terms = ARGV[5], cjson.decode(ARGV[6])
local seen, fence, mark, sample = tonumber(ARGV[7]), tonumber(ARGV[8]), ARGV[9], cjson.decode(ARGV[10])

local function is_probe(doc)
  return doc.state == 'half_open' and doc.permit and doc.permit.fence == fence
end

local function succeeded(doc)
  local changed = false
  local kept = {}
  for _, cooldown in ipairs(doc.cooldowns or {}) do
    if cooldown.kind == 'credential' and cooldown.number <= seen then
      changed = true
    else
      kept[#kept + 1] = cooldown
    end
  end
  doc.cooldowns = kept
  if doc.state == 'closed' and doc.failures > 0 then
    doc.failures, doc.samples = 0, nil
    changed = true
  elseif is_probe(doc) then
    local successes = doc.successes + 1
    witness(doc, sample)
    if successes >= doc.terms.half_open_success_threshold then
      enter(doc, 'closed', 'recovered')
    else
      doc.successes, doc.permit = successes, nil
    end
    changed = true
  end
  return changed
end

local function failed(doc)
  local threshold = doc.terms.failure_threshold
  if doc.state == 'closed' and threshold > 0 then
    local failures = doc.failures + 1
    if failures == 1 then
      doc.samples = nil
    end
    witness(doc, sample)
    if failures >= threshold then
      enter(doc, 'open', 'failures')
    else
      doc.failures = failures
    end
    return true
  elseif is_probe(doc) then
    witness(doc, sample)
    enter(doc, 'open', 'probe_failed')
    return true
  end
  return false
end

local function came_to_nothing(doc)
  if is_probe(doc) then
    doc.permit = nil
    return true
  end
  return false
end

-- `rules::cooldown::set`
local function cool(doc, kind, model, first, longest, memory, same_moment)
  local known = find_cooldown(doc, kind, model)
  local is_running = known and now < known['until']
  local strikes = 1
  if is_running then
    strikes = known.strikes
  elseif known and is_remembered(known) then
    strikes = known.strikes + 1
  end
  local over = now + math.min(first * 2 ^ (strikes - 1), longest)
  if is_running and not (kind == 'rate_limit' and over > known['until'] + same_moment) then
    return false
  end
  local made = known or {}
  made.kind, made.model, made['until'], made.memory_ms = kind, model, over, memory
  made.strikes, made.number, made.sample = strikes, number, sample
  doc.cooldowns = doc.cooldowns or {}
  if not known then
    table.insert(doc.cooldowns, made)
  end
  tidy(doc)
  return true
end

local doc, before = find(id)
doc = doc or fresh(id, terms)
local generation = doc.generation
local changed = false
if seen >= generation then
  if not same_terms(doc.terms, terms) then
    drop_all(doc, terms, 'terms_changed')
    changed = true
  end
  local effect = { success = succeeded, failure = failed, neutral = came_to_nothing }
  changed = effect[mark](doc) or changed
  if ARGV[11] ~= '' then
    local model = ARGV[12] ~= '' and ARGV[12] or nil
    local cooled = cool(doc, ARGV[11], model, tonumber(ARGV[13]), tonumber(ARGV[14]), tonumber(ARGV[15]),
      tonumber(ARGV[16]))
    changed = cooled or changed
  end
end
if changed then
  before = keep(id, doc)
end
finish()
return { digits(now), before or '', (changed and doc.generation ~= generation) and 1 or 0 }
