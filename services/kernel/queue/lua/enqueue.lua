-- Puts a batch of jobs into the queue, in saq's layout, in few variadic calls.
-- ARGV: epoch ('' = not fenced), channel, announcement ('' = none), then per priority a count and a priority,
-- closed by a 0, then id and body of each job in that order.
-- Returns {accepted, duplicates, jobs in each waiting list}, or {-1, epoch} when a higher epoch has been here.
local epoch = tonumber(ARGV[1])
if epoch then
  local seen = tonumber(redis.call('GET', Q .. ':epoch') or '0')
  if seen > epoch then
    return {-1, seen}
  end
  if epoch > seen then
    redis.call('SET', Q .. ':epoch', ARGV[1])
  end
end

local damaged = damage()
if damaged then
  return damaged
end
local runs, at = {}, 4
while ARGV[at] ~= '0' do
  runs[#runs + 1] = {tonumber(ARGV[at]), list_of(tonumber(ARGV[at + 1]))}
  at = at + 2
end
local first = at + 1

local ids, scores = {}, {}
for i = first, #ARGV, 2 do
  local n = #ids + 1
  ids[n] = ARGV[i]
  scores[2 * n - 1], scores[2 * n] = 0, ARGV[i]
end

local accepted = 0
if #ids > 0 and redis.call('MSETNX', unpack(ARGV, first)) == 1 then
  -- The common case: all new.
  redis.call('ZADD', INCOMPLETE, unpack(scores))
  local from = 1
  for _, run in ipairs(runs) do
    redis.call('RPUSH', run[2], unpack(ids, from, from + run[1] - 1))
    from = from + run[1]
  end
  accepted = #ids
else
  local n = 0
  for _, run in ipairs(runs) do
    for _ = 1, run[1] do
      n = n + 1
      if redis.call('SET', ids[n], ARGV[first + 2 * n - 1], 'NX') then
        redis.call('ZADD', INCOMPLETE, 0, ids[n])
        redis.call('RPUSH', run[2], ids[n])
        accepted = accepted + 1
      end
    end
  end
end

if redis.call('EXISTS', Q .. ':poison') == 1 then
  for _, id in ipairs(ids) do
    if redis.call('HEXISTS', Q .. ':poison', id) == 1 then
      pardon(id) -- a dead job that was replayed
    end
  end
end

known()
wake(accepted)
if ARGV[3] ~= '' then
  redis.call('PUBLISH', ARGV[2], ARGV[3])
end
return {accepted, #ids - accepted, lengths_of_lists()}
