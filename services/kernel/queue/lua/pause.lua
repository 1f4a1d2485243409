-- Has workers take nothing from this queue, or lets them take again and wakes them.
-- ARGV: '1' to pause, '0' to resume.
-- Returns 1 when that changed anything.
if ARGV[1] == '1' then
  local new = 1 - redis.call('EXISTS', PAUSED)
  redis.call('SET', PAUSED, '1')
  known()
  return new
end
local changed = redis.call('DEL', PAUSED)
if changed == 1 and not damage() then
  wake(depth())
end
return changed
