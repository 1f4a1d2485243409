-- Writes the body of a job that its worker is running (status, attempts, the time it was last seen).
-- ARGV: id, claim, body.
-- Returns 1, or 0 when the job is no longer this worker's.
if redis.call('HGET', OWNERS, ARGV[1]) ~= ARGV[2] then
  return 0
end
redis.call('SET', ARGV[1], ARGV[3])
return 1
