-- Puts a job that was set aside back into its queue, as it was.
-- ARGV: id.
-- Returns 1, or 0 when no such job was set aside or its body is not kept.
local damaged = damage()
if damaged then
  return damaged
end
local id = ARGV[1]
local body = redis.call('HGET', Q .. ':poison:bodies', id)
if not body or not is_own(id) then
  return 0
end
pardon(id)
redis.call('SET', id, body)
redis.call('ZADD', INCOMPLETE, 0, id)
redis.call('RPUSH', list_of(priority_of(body)), id)
wake(1)
return 1
