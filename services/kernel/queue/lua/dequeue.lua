-- Takes up to `count` jobs for one worker: highest priority first; a list that has been passed over ten times in a row
-- is served once, so that nothing starves. A paused queue gives nothing. Renews the worker's lease, for a job must never look orphaned while it runs.
-- ARGV: worker, claim, count, lease seconds.
-- Returns {id, body, error} for each; body is nil when it is gone, error is '' unless the body cannot be read at all.
if redis.call('EXISTS', PAUSED) == 1 then
  redis.call('DEL', WAKE)
  return {}
end
local PATIENCE = 10
local lists, lengths, passed = waiting_lists(), {}, {}
for i, list in ipairs(lists) do
  lengths[i] = length(list)
end

local function first_waiting()
  for i = 1, #lists do
    if lengths[i] > 0 then
      return i
    end
  end
end

local function pick()
  local best = first_waiting()
  local overdue, most = nil, PATIENCE - 1
  for i = best and best + 1 or #lists + 1, #lists do
    if lengths[i] > 0 and (passed[i] or 0) >= math.max(PATIENCE, most) then
      overdue, most = i, passed[i]
    end
  end
  return overdue or best, best
end

local function pass_over(picked, best)
  passed[picked] = nil
  for i = best + 1, #lists do
    if i ~= picked then
      passed[i] = lengths[i] > 0 and (passed[i] or 0) + 1 or nil
    end
  end
end

local counts = redis.call('HGETALL', Q .. ':passed')
for i = 1, #counts, 2 do
  passed[tonumber(counts[i])] = tonumber(counts[i + 1])
end

local out = {}
for _ = 1, tonumber(ARGV[3]) do
  local picked, best = pick()
  if not picked then
    break
  end
  local id = redis.call('LMOVE', lists[picked], ACTIVE, 'LEFT', 'RIGHT')
  lengths[picked] = lengths[picked] - 1
  pass_over(picked, best)
  local body = redis.pcall('GET', id)
  redis.call('HSET', OWNERS, id, ARGV[2])
  if type(body) == 'table' then
    out[#out + 1] = {id, '', body.err}
  elseif not body and is_own(id) then
    redis.call('LREM', ACTIVE, 0, id)
    redis.call('ZREM', INCOMPLETE, id)
    redis.call('HDEL', OWNERS, id)
    out[#out + 1] = {id, false, ''}
  else
    out[#out + 1] = {id, body or '', body and '' or 'not a job of this queue'}
  end
end

if #out == 0 then
  redis.call('DEL', WAKE)
  return out
end

redis.call('SET', Q .. ':lease:' .. ARGV[1], '1', 'EX', ARGV[4])
redis.call('DEL', Q .. ':passed')
for i, n in pairs(passed) do
  redis.call('HSET', Q .. ':passed', i, n)
end
redis.pcall('LPOP', WAKE, #out)
return out
