-- Ends a job that its worker has done, unless the job has been given to another worker meanwhile.
-- ARGV: id, claim, ttl (0 = keep for ever, < 0 = forget), body, status.
-- Returns 1, or 0 when the job is no longer this worker's.
local id = ARGV[1]
if redis.call('HGET', OWNERS, id) ~= ARGV[2] then
  return 0
end
redis.call('LREM', ACTIVE, 1, id)
redis.call('ZREM', INCOMPLETE, id)
redis.call('HDEL', OWNERS, id)
redis.call('HDEL', Q .. ':crashes', id)
local ttl = tonumber(ARGV[3])
if ttl > 0 then
  redis.call('SET', id, ARGV[4], 'EX', string.format('%d', ttl))
elseif ttl == 0 then
  redis.call('SET', id, ARGV[4])
else
  redis.call('DEL', id)
end
redis.call('PUBLISH', id, ARGV[5])
return 1
