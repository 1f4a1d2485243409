-- Moves the jobs whose delay is over into their priority lists.
-- ARGV: the most to move.
-- Returns how many were moved.
local damaged = damage()
if damaged then
  return damaged
end
local due = redis.call('ZRANGEBYSCORE', INCOMPLETE, '(0', now(), 'LIMIT', 0, ARGV[1])
local moved = 0
for _, id in ipairs(due) do
  local body = redis.pcall('GET', id)
  if type(body) == 'string' then
    redis.call('ZADD', INCOMPLETE, 0, id)
    redis.call('RPUSH', list_of(priority_of(body)), id)
    moved = moved + 1
  else
    redis.call('ZREM', INCOMPLETE, id)
  end
end
wake(moved)
return moved
