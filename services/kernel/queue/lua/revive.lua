-- Puts a job back that Redis has lost, with its body as PostgreSQL has it, unless it is there after all.
-- ARGV: epoch, id, body, priority.
-- Returns 1 when it was put back, 0 when it is alive, -1 when a higher epoch has been here.
local seen = tonumber(redis.call('GET', Q .. ':epoch') or '0')
if seen > tonumber(ARGV[1]) then
  return -1
end
local damaged = damage()
if damaged then
  return damaged
end
local id = ARGV[2]
local score = tonumber(redis.call('ZSCORE', INCOMPLETE, id) or '')
if score and score > 0 then
  return 0
end
local lists = waiting_lists()
lists[#lists + 1] = ACTIVE
for _, list in ipairs(lists) do
  if length(list) > 0 and redis.call('LPOS', list, id) then
    return 0
  end
end
pardon(id)
redis.call('DEL', id)
redis.call('SET', id, ARGV[3])
redis.call('ZADD', INCOMPLETE, 0, id)
redis.call('RPUSH', list_of(tonumber(ARGV[4])), id)
wake(1)
return 1
