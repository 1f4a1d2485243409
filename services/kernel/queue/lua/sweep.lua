-- Puts back, in one pass, every active job whose worker's lease is gone; the head of its list, since it has waited before.
-- A job with which workers keep dying is set aside. saq's own lock is held all the time, so that a plain saq never sweeps here.
-- ARGV: lock milliseconds, most crashes, seconds a job may be active without an owner.
-- Returns {put back, set aside, dropped since the body is gone}: three lists of ids, or nil when another one sweeps.
if not redis.call('SET', Q .. ':rescue', '1', 'NX', 'PX', ARGV[1]) then
  return false
end
local damaged = damage()
if damaged then
  return damaged
end
redis.call('SET', Q .. ':sweep', '1', 'EX', 300)
local most_crashes, grace, clock = tonumber(ARGV[2]), tonumber(ARGV[3]), now()
local UNOWNED = Q .. ':unowned'
local leases = {}

local function has_lease(owner)
  local worker = string.match(owner, '^(.*)/') or owner
  if leases[worker] == nil then
    leases[worker] = redis.call('EXISTS', Q .. ':lease:' .. worker) == 1
  end
  return leases[worker]
end

-- A job that no owner ever claimed: taken by a plain saq, or put there by hand.
local function abandoned(id)
  local seen = tonumber(redis.call('HGET', UNOWNED, id) or '')
  if not seen then
    redis.call('HSET', UNOWNED, id, string.format('%.3f', clock))
  end
  return seen and clock - seen >= grace
end

local function reason(kind, detail)
  return cjson.encode({reason = kind, detail = detail, at = clock})
end

local back, aside, dropped = {}, {}, {}
local ids = redis.call('LRANGE', ACTIVE, 0, -1)
for i = #ids, 1, -1 do
  local id = ids[i]
  local owner = redis.call('HGET', OWNERS, id)
  if (owner and not has_lease(owner)) or (not owner and abandoned(id)) then
    local body = redis.pcall('GET', id)
    local crashes = owner and redis.call('HINCRBY', Q .. ':crashes', id, 1) or 0
    redis.call('HDEL', UNOWNED, id)
    if type(body) == 'table' or not is_own(id) then
      local why = type(body) == 'table' and body.err or 'not a job of this queue'
      set_aside(id, reason('undecodable', why), false)
      aside[#aside + 1] = id
    elseif not body then
      redis.call('LREM', ACTIVE, 0, id)
      redis.call('ZREM', INCOMPLETE, id)
      redis.call('HDEL', OWNERS, id)
      dropped[#dropped + 1] = id
    elseif crashes >= most_crashes then
      set_aside(id, reason('crashed', crashes .. ' workers died while it ran'), true)
      aside[#aside + 1] = id
    else
      redis.call('LREM', ACTIVE, 0, id)
      redis.call('HDEL', OWNERS, id)
      redis.call('ZADD', INCOMPLETE, 0, id)
      redis.call('LPUSH', list_of(priority_of(body)), id)
      back[#back + 1] = id
    end
  end
end
if #ids == 0 then
  redis.call('DEL', UNOWNED)
end
wake(#back)
return {back, aside, dropped}
