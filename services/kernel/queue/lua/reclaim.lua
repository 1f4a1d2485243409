-- Puts back what this worker has taken without knowing it: the answer to its `dequeue` or `finish` was lost on the way.
-- ARGV: worker, number of its latest claim that was answered or given up, then the ids the worker knows of.
-- Claims with higher numbers are under way: their jobs are not forgotten, only not known yet.
-- Returns the ids put back.
local known, back, answered = {}, {}, tonumber(ARGV[2])

local function is_forgotten(owner)
  local worker, number = string.match(owner, '^(.*)/(%d+)$')
  return worker == ARGV[1] and tonumber(number) <= answered
end

for i = 3, #ARGV do
  known[ARGV[i]] = true
end
local damaged = damage()
if damaged then
  return damaged
end
local ids = redis.call('LRANGE', ACTIVE, 0, -1)
for i = #ids, 1, -1 do
  local id = ids[i]
  local owner = not known[id] and redis.call('HGET', OWNERS, id)
  if owner and is_forgotten(owner) then
    local body = redis.pcall('GET', id)
    redis.call('LREM', ACTIVE, 0, id)
    redis.call('HDEL', OWNERS, id)
    if type(body) == 'string' then
      redis.call('ZADD', INCOMPLETE, 0, id)
      redis.call('LPUSH', list_of(priority_of(body)), id)
      back[#back + 1] = id
    else
      redis.call('ZREM', INCOMPLETE, id)
    end
  end
end
wake(#back)
return back
