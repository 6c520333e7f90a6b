
-- What is done to breakers apart from attempts (`rules::breaker::{reset, probed}`).
--
-- ARGV  5 "reset"  6 provider  7 terms as JSON  8 cause  9 only if this is the generation still, or ''
--       5 "reset_all"
--       5 "probed"  6 provider  7 sample as JSON  8 generation
-- Returns {now, document or '', 1 if this made a transition}
local id = ARGV[6]
local changed = false
local doc, before
if id then
  doc, before = find(id)
end
if ARGV[5] == 'reset_all' then
  clear()
  finish()
  return { digits(now), '', 1 }
elseif ARGV[5] == 'reset' then
  local terms = cjson.decode(ARGV[7])
  if ARGV[9] == '' or (doc and doc.generation == tonumber(ARGV[9])) then
    doc = doc or fresh(id, terms)
    drop_all(doc, terms, ARGV[8])
    changed = true
  end
elseif doc and doc.state == 'open' and doc.generation == tonumber(ARGV[8]) then
  witness(doc, cjson.decode(ARGV[7]))
  enter(doc, 'half_open', 'probed')
  changed = true
end
if changed then
  before = keep(id, doc)
end
finish()
return { digits(now), before or '', changed and 1 or 0 }
