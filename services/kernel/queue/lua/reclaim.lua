-- Puts back what this worker has taken without knowing it: the answer to its `dequeue` or `finish` was lost on the way.
-- ARGV: worker, claim that is being made right now ('' = none), then the ids the worker knows of.
-- Returns the ids put back.
local known, back = {}, {}
for i = 3, #ARGV do
  known[ARGV[i]] = true
end
local ids = redis.call('LRANGE', ACTIVE, 0, -1)
for i = #ids, 1, -1 do
  local id = ids[i]
  local owner = not known[id] and redis.call('HGET', OWNERS, id)
  if owner and owner ~= ARGV[2] and string.match(owner, '^(.*)/') == ARGV[1] then
    local body = redis.pcall('GET', id)
    redis.call('LREM', ACTIVE, 0, id)
    redis.call('HDEL', OWNERS, id)
    if type(body) == 'string' then
      redis.call('ZADD', INCOMPLETE, 0, id)
      redis.call('LPUSH', list_of(priority_of(body)), id)
      back[#back + 1] = id
    else
      redis.call('ZREM', INCOMPLETE, id)
    end
  end
end
wake(#back)
return back
