-- Puts jobs back that Redis has lost, with their bodies as PostgreSQL has them, unless they are there after all.
-- The lists are looked through once for all of them. Of a long queue whose sorted set counts as many jobs as its lists hold, the
-- sorted set is believed: every job in a list stands in it.
-- ARGV: epoch, then id, body and priority of each job.
-- Returns for each 1 when it was put back, 0 when it is alive; or -1 when a higher epoch has been here.
local MOST, STEP = 5000, 1000
local seen = tonumber(redis.call('GET', Q .. ':epoch') or '0')
if seen > tonumber(ARGV[1]) then
  return -1
end
local damaged = damage()
if damaged then
  return damaged
end
local lists = waiting_lists()
lists[#lists + 1] = ACTIVE
local lengths, listed = {}, 0
for i, list in ipairs(lists) do
  lengths[i] = redis.call('LLEN', list)
  listed = listed + lengths[i]
end

local wanted, members = {}, {}
for i = 2, #ARGV, 3 do
  wanted[ARGV[i]] = true
end
local is_believed = listed > MOST and redis.call('ZCOUNT', INCOMPLETE, 0, 0) == listed
if not is_believed then
  for i, list in ipairs(lists) do
    for from = 0, lengths[i] - 1, STEP do
      for _, id in ipairs(redis.call('LRANGE', list, from, from + STEP - 1)) do
        members[id] = wanted[id]
      end
    end
  end
end

-- What a job leaves behind that was set aside, or with which workers died.
local has_past = redis.call('EXISTS', Q .. ':poison', Q .. ':poison:bodies', Q .. ':crashes', Q .. ':unreported') > 0
local out, back = {}, 0
for i = 2, #ARGV, 3 do
  local id = ARGV[i]
  local score = tonumber(redis.call('ZSCORE', INCOMPLETE, id) or '')
  if members[id] or (score and (score > 0 or is_believed)) then
    out[#out + 1] = 0
  else
    if has_past then
      pardon(id)
    end
    redis.call('SET', id, ARGV[i + 1])
    redis.call('ZADD', INCOMPLETE, 0, id)
    redis.call('RPUSH', list_of(tonumber(ARGV[i + 2])), id)
    members[id] = true
    back = back + 1
    out[#out + 1] = 1
  end
end
wake(back)
return out
