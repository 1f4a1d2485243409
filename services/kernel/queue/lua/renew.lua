-- Says that a worker lives and serves this queue.
-- ARGV: worker, seconds for which this counts.
-- Returns 1.
local seconds, clock = tonumber(ARGV[2]), now()
redis.call('SET', Q .. ':lease:' .. ARGV[1], '1', 'EX', ARGV[2])
redis.pcall('ZADD', WORKERS, string.format('%.3f', clock + seconds), ARGV[1])
redis.pcall('ZREMRANGEBYSCORE', WORKERS, '-inf', string.format('%.3f', clock))
redis.call('EXPIRE', WORKERS, seconds)
known()
redis.pcall('ZREMRANGEBYSCORE', 'saq:queues', '-inf', string.format('%.3f', clock - 30 * 86400))
return 1
