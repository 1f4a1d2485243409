-- One page of the queue's jobs; reads only.
-- ARGV: place ('waiting', 'scheduled', 'running' or 'dead'), offset, limit, most bytes of a body.
-- Returns {id, body, owner, note} for each, in the order in which they will be served (dead: the latest first, as long as they
-- are not too many to be sorted); the body is '' when it is larger than allowed, or gone; the note is the time a scheduled job is due, or why a dead one was set aside.
local place, offset, limit, most = ARGV[1], tonumber(ARGV[2]), tonumber(ARGV[3]), tonumber(ARGV[4])
local BODIES = Q .. ':poison:bodies'
local MOST_SORTED = 5000 -- decoding and sorting so many takes some 20 ms, during which Redis does nothing else

-- What a read answers, or an empty table when the key is of the wrong type.
local function rows(...)
  local found = redis.pcall(...)
  return type(found) == 'table' and not found.err and found or {}
end

local function waiting()
  local ids = {}
  for _, list in ipairs(waiting_lists()) do
    local there = length(list)
    if offset >= there then
      offset = offset - there
    elseif #ids < limit then
      for _, id in ipairs(rows('LRANGE', list, offset, offset + limit - #ids - 1)) do
        ids[#ids + 1] = id
      end
      offset = 0
    end
  end
  return ids
end

local function scheduled()
  return rows('ZRANGEBYSCORE', INCOMPLETE, '(0', '+inf', 'LIMIT', offset, limit)
end

local function running()
  return rows('LRANGE', ACTIVE, offset, offset + limit - 1)
end

-- Dead jobs in the hash's own order, which stays the same while nothing is added.
local function dead_unsorted()
  local ids, cursor = {}, '0'
  repeat
    local page = redis.call('HSCAN', Q .. ':poison', cursor, 'COUNT', 1000)
    cursor = page[1]
    for i = 1, #page[2], 2 do
      ids[#ids + 1] = page[2][i]
    end
  until cursor == '0' or #ids >= offset + limit
  return {unpack(ids, offset + 1, math.min(offset + limit, #ids))}
end

local function dead()
  local size = redis.pcall('HLEN', Q .. ':poison')
  if type(size) == 'number' and size > MOST_SORTED then
    return dead_unsorted()
  end
  local all, ids = {}, {}
  local found = rows('HGETALL', Q .. ':poison')
  for i = 1, #found, 2 do
    local fine, why = pcall(cjson.decode, found[i + 1])
    local at = fine and type(why) == 'table' and tonumber(why.at) or 0
    all[#all + 1] = {found[i], at}
  end
  table.sort(all, function(one, other)
    return one[2] > other[2] or (one[2] == other[2] and one[1] < other[1])
  end)
  for i = offset + 1, math.min(offset + limit, #all) do
    ids[#ids + 1] = all[i][1]
  end
  return ids
end

local function body_of(id)
  if place == 'dead' then
    return redis.call('HSTRLEN', BODIES, id) <= most and redis.call('HGET', BODIES, id) or ''
  end
  local size = redis.pcall('STRLEN', id)
  return type(size) == 'number' and size <= most and redis.call('GET', id) or ''
end

local function note_of(id)
  if place == 'dead' then
    return redis.call('HGET', Q .. ':poison', id) or ''
  end
  return place == 'scheduled' and redis.call('ZSCORE', INCOMPLETE, id) or ''
end

local found = {waiting = waiting, scheduled = scheduled, running = running, dead = dead}
local out = {}
for _, id in ipairs(found[place]()) do
  out[#out + 1] = {id, body_of(id), place == 'running' and redis.call('HGET', OWNERS, id) or '', note_of(id)}
end
return out
