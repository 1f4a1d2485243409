-- Has workers take nothing from this queue, or lets them take again and wakes them.
-- ARGV: '1' to pause, '0' to resume.
-- Returns 1 when that changed anything.
if ARGV[1] == '1' then
  known()
  return redis.call('SET', PAUSED, '1', 'GET') and 0 or 1
end
local changed = redis.call('DEL', PAUSED)
if changed == 1 then
  wake(depth())
end
return changed
