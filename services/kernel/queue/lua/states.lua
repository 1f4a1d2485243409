-- Says of each job whether it is waiting, scheduled or running (1), set aside (2), done and still remembered (3) or none of
-- these (0).
-- The lists are read only while they are short; with long ones the sorted set is believed.
-- ARGV: ids.
-- Returns their states, in the same order.
local MOST = 5000
local members, complete = {}, true
if depth() + length(ACTIVE) <= MOST then
  local lists = waiting_lists()
  lists[#lists + 1] = ACTIVE
  for _, list in ipairs(lists) do
    local ids = redis.pcall('LRANGE', list, 0, -1)
    for _, id in ipairs(ids.err and {} or ids) do
      members[id] = true
    end
  end
else
  complete = false
end

local function is_done(id)
  local body = redis.pcall('GET', id)
  local fine, job = pcall(cjson.decode, type(body) == 'string' and body or '')
  return fine and type(job) == 'table' and job.status == 'complete'
end

local out = {}
for i, id in ipairs(ARGV) do
  local score = tonumber(redis.call('ZSCORE', INCOMPLETE, id) or '')
  if members[id] or (score and (score > 0 or not complete)) then
    out[i] = 1
  elseif redis.call('HEXISTS', Q .. ':poison', id) == 1 then
    out[i] = 2
  elseif is_done(id) then
    out[i] = 3
  else
    out[i] = 0
  end
end
return out
