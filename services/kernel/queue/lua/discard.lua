-- Forgets jobs that nobody runs: those that wait, are scheduled, done or set aside. A running one is left to its worker.
-- What is no job of this queue at all is taken out of its lists; the key it names is somebody else's.
-- ARGV: ids.
-- Returns how many bodies were deleted.
local gone = 0
for _, id in ipairs(ARGV) do
  if redis.call('HEXISTS', OWNERS, id) == 0 then
    for _, list in ipairs(waiting_lists()) do
      if length(list) > 0 then
        redis.call('LREM', list, 0, id)
      end
    end
    redis.call('ZREM', INCOMPLETE, id)
    pardon(id)
    if is_own(id) then
      gone = gone + redis.call('DEL', id)
    end
  end
end
return gone
