
-- Somebody wants to probe (`rules::breaker::after_ask`).
--
-- ARGV  5 provider  6 terms as JSON  7 the newest number the node knows  8 node  9 milliseconds the probe may take
-- Returns {now, document or '', 1 if this made a transition, "granted" | "unneeded" | "refused", newest number known}
--         A granted permit has the document's version for its fence.
local id, terms, seen, node, hold = ARGV[5], cjson.decode(ARGV[6]), tonumber(ARGV[7]), ARGV[8], tonumber(ARGV[9])
hear(node)

local doc, before = find(id)
doc = doc or fresh(id, terms)
local generation = doc.generation
local taken = 'refused'
local changed = false
if not same_terms(doc.terms, terms) then
  if seen >= generation then
    drop_all(doc, terms, 'terms_changed')
    taken, changed = 'unneeded', true
  end
elseif doc.terms.failure_threshold == 0 or doc.state == 'closed' then
  taken = 'unneeded'
elseif doc.state == 'open' then
  if now >= doc['until'] then
    enter(doc, 'half_open', 'due')
    taken = 'granted'
  end
elseif not doc.permit or is_lapsed(doc.permit) then
  taken = 'granted'
end
if taken == 'granted' then
  doc.permit = { owner = node, fence = number, ['until'] = now + hold }
  changed = true
end
if changed then
  before = keep(id, doc)
end
finish()
return { digits(now), before or '', (changed and doc.generation ~= generation) and 1 or 0, taken,
  digits(math.max(doc.version, seen)) }
