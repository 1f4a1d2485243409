-- Sets a job aside that its worker cannot or must not run.
-- ARGV: id, claim, reason (JSON), '1' to report it to the dead-letter function.
-- Returns 1, or 0 when the job is no longer this worker's.
if redis.call('HGET', OWNERS, ARGV[1]) ~= ARGV[2] then
  return 0
end
set_aside(ARGV[1], ARGV[3], ARGV[4] == '1')
return 1
