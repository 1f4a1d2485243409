-- Gives a job back: into its priority list at once, or when it is due.
-- ARGV: id, claim, body, priority, delay in seconds (0 = at once), '1' for the head of its list.
-- Returns 1, or 0 when the job is no longer this worker's.
local damaged = damage()
if damaged then
  return damaged
end
local id = ARGV[1]
if redis.call('HGET', OWNERS, id) ~= ARGV[2] then
  return 0
end
redis.call('LREM', ACTIVE, 1, id)
redis.call('HDEL', OWNERS, id)
redis.call('HDEL', Q .. ':crashes', id)
redis.call('SET', id, ARGV[3])
local delay = tonumber(ARGV[5])
if delay > 0 then
  redis.call('ZADD', INCOMPLETE, now() + delay, id)
else
  redis.call('ZADD', INCOMPLETE, 0, id)
  redis.call(ARGV[6] == '1' and 'LPUSH' or 'RPUSH', list_of(tonumber(ARGV[4])), id)
  wake(1)
end
redis.call('PUBLISH', id, 'queued')
return 1
