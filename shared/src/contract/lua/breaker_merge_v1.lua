
-- A node comes back with what it saw by itself (`rules::breaker::merged`).
--
-- ARGV  5.. documents as JSON
-- Returns now
local ours = {}
for i = 5, #ARGV do
  local doc = cjson.decode(ARGV[i])
  ours[#ours + 1] = doc
  number = math.max(number, doc.version + 1)
end

local function join(doc, others)
  local changed = false
  doc.cooldowns = doc.cooldowns or {}
  for _, other in ipairs(others or {}) do
    if is_remembered(other) then
      local known
      for place, cooldown in ipairs(doc.cooldowns) do
        if cooldown.kind == other.kind and cooldown.model == other.model then
          known = place
          break
        end
      end
      if not known or doc.cooldowns[known]['until'] < other['until'] then
        doc.cooldowns[known or #doc.cooldowns + 1] = other
        changed = true
      end
    end
  end
  if changed then
    tidy(doc)
  end
  return changed
end

for _, local_doc in ipairs(ours) do
  local id = digits(local_doc.provider_id)
  local doc = find(id) or fresh(id, local_doc.terms)
  if local_doc.generation > doc.generation then
    keep(id, local_doc)
  elseif local_doc.generation == doc.generation and same_terms(local_doc.terms, doc.terms)
    and join(doc, local_doc.cooldowns) then
    keep(id, doc)
  end
end
finish()
return digits(now)
