-- The queue in figures; reads only.
-- ARGV: none.
-- Returns {jobs in each waiting list, {scheduled, running, dead, paused, live workers, age of the oldest waiting job in ms}}.
local LARGEST = 65536 -- bytes of a body that is read for its age

local function count(command, ...)
  local n = redis.pcall(command, ...)
  return type(n) == 'number' and n or 0
end

-- Since its outbox row was written; of the jobs that are first in their lists, 0 where none of them says.
local function oldest()
  local age, moment = 0, now() * 1000
  for _, list in ipairs(waiting_lists()) do
    local id = redis.pcall('LINDEX', list, 0)
    local size = type(id) == 'string' and redis.pcall('STRLEN', id)
    if type(size) == 'number' and size > 0 and size <= LARGEST then
      local fine, job = pcall(cjson.decode, redis.call('GET', id))
      local queued = fine and type(job) == 'table' and tonumber(job.queued)
      if queued and queued > 0 and moment - queued > age then
        age = moment - queued
      end
    end
  end
  return math.floor(age)
end

return {lengths_of_lists(), {
  count('ZCOUNT', INCOMPLETE, '(0', '+inf'),
  length(ACTIVE),
  count('HLEN', Q .. ':poison'),
  redis.call('EXISTS', PAUSED),
  count('ZCOUNT', WORKERS, '(' .. string.format('%.3f', now()), '+inf'),
  oldest(),
}}
