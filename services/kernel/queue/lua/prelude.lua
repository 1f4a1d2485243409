-- Prepended to every script. KEYS[1] is the queue's prefix (saq:<queue>), KEYS[2] that of its job bodies
-- (saq:job:<queue>:); all other keys are made from these two, so Redis must not be a cluster.
local Q, JOBS = KEYS[1], KEYS[2]
local ACTIVE, INCOMPLETE, OWNERS = Q .. ':active', Q .. ':incomplete', Q .. ':owners'
local WAKE, PLAIN = Q .. ':wake', Q .. ':queued'
local WORKERS, PAUSED = Q .. ':workers', Q .. ':paused'
local MOST_TOKENS = 64

-- Priorities 0 to 10; what lies outside counts as the nearest of them.
local function list_of(priority)
  return Q .. ':queued:' .. string.format('%d', math.max(0, math.min(10, priority)))
end

-- Every list in which a job can wait, the first to be served first.
local function waiting_lists()
  local lists = {}
  for priority = 10, 0, -1 do
    lists[#lists + 1] = list_of(priority)
  end
  lists[#lists + 1] = PLAIN
  return lists
end

-- Redis raises on a key of the wrong type; one such key must not stop the others.
local function length(list)
  local n = redis.pcall('LLEN', list)
  return type(n) == 'number' and n or 0
end

-- How many jobs wait in each list, in the same order.
local function lengths_of_lists()
  local lengths = {}
  for i, list in ipairs(waiting_lists()) do
    lengths[i] = length(list)
  end
  return lengths
end

local function depth()
  local sum = 0
  for _, n in ipairs(lengths_of_lists()) do
    sum = sum + n
  end
  return sum
end

-- What is wrong with the queue's own keys, or nil. Asked before the first write: an error between two writes would leave half
-- of them behind.
local function damage()
  local kinds = {[INCOMPLETE] = 'zset', [ACTIVE] = 'list', [WAKE] = 'list', [OWNERS] = 'hash'}
  for _, list in ipairs(waiting_lists()) do
    kinds[list] = 'list'
  end
  for key, kind in pairs(kinds) do
    local actual = redis.call('TYPE', key).ok
    if actual ~= kind and actual ~= 'none' then
      return redis.error_reply('WRONGTYPE the key ' .. key .. ' is a ' .. actual .. ', not a ' .. kind)
    end
  end
end

local function priority_of(body)
  local fine, job = pcall(cjson.decode, body)
  local priority = fine and type(job) == 'table' and tonumber(job.priority) or 0
  return priority == priority and math.floor(priority) or 0
end

local function now()
  local t = redis.call('TIME')
  return tonumber(t[1]) + tonumber(t[2]) / 1000000
end

-- Remembers that this queue is in use, so that people can find it.
local function known()
  redis.pcall('ZADD', 'saq:queues', string.format('%.3f', now()), string.sub(Q, 5))
end

-- One token per new job, never more than MOST_TOKENS in all: a token that finds nothing costs one look.
local function wake(jobs)
  local tokens = {}
  for i = 1, math.min(jobs, MOST_TOKENS - redis.call('LLEN', WAKE)) do
    tokens[i] = '1'
  end
  if #tokens > 0 then
    redis.call('RPUSH', WAKE, unpack(tokens))
  end
end

local function is_own(id)
  return string.sub(id, 1, #JOBS) == JOBS
end

-- Puts a job beside the queue: why, and what it was. A body of another queue stays where it is.
local function set_aside(id, reason, report)
  local body = redis.pcall('GET', id)
  redis.call('LREM', ACTIVE, 0, id)
  redis.call('ZREM', INCOMPLETE, id)
  redis.call('HDEL', OWNERS, id)
  redis.call('HSET', Q .. ':poison', id, reason)
  if type(body) == 'string' then
    redis.call('HSET', Q .. ':poison:bodies', id, body)
  end
  if is_own(id) then
    redis.call('DEL', id)
  end
  if report then
    redis.call('RPUSH', Q .. ':unreported', id)
  end
end

-- Forgets that a job was ever set aside.
local function pardon(id)
  redis.call('HDEL', Q .. ':poison', id)
  redis.call('HDEL', Q .. ':poison:bodies', id)
  redis.call('HDEL', Q .. ':crashes', id)
  redis.call('LREM', Q .. ':unreported', 0, id)
end
