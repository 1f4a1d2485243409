-- What every script of the slots begins with. KEYS[1] is the prefix of all keys, ARGV[1] the counters' time to live in seconds.
--   <p>global            how many courses hold a slot            <p>user:<user>    how many of one user's do (expires)
--   <p>slots             hash: course -> user:run:holder         <p>slots:<user>   set: the user's courses
--   <p>unverified        zset: course -> when it was reserved    <p>released       zset: course:run -> when it was freed
--   <p>users             set: whoever has or wanted a slot       <p>ready          there while the counters can be believed
-- The counters are what is tested and shown. One that is missing (deleted, evicted, expired) is counted anew from its set.
local prefix, ttl = KEYS[1], ARGV[1]
local GLOBAL, SLOTS, USERS = prefix .. 'global', prefix .. 'slots', prefix .. 'users'
local UNVERIFIED, RELEASED, READY = prefix .. 'unverified', prefix .. 'released', prefix .. 'ready'
local TOMBSTONE_MS = 60000

local function counter_of(user) return prefix .. 'user:' .. user end
local function courses_of(user) return prefix .. 'slots:' .. user end

local function now_ms()
    local time = redis.call('TIME')
    return time[1] * 1000 + math.floor(time[2] / 1000)
end

local function value_of(user, run, holder) return user .. ':' .. string.format('%d', run) .. ':' .. holder end

-- user, run, holder
local function parse(value)
    local run, holder = string.match(value, '^(%d+):?(.*)$', 38)
    return string.sub(value, 1, 36), tonumber(run) or 0, holder or ''
end

local function read(counter)
    local value = tonumber(redis.call('GET', counter) or '')
    return value and value >= 0 and value or nil
end

local function all_taken() return read(GLOBAL) or redis.call('HLEN', SLOTS) end
local function own_taken(user) return read(counter_of(user)) or redis.call('SCARD', courses_of(user)) end

-- Give a course that has no slot one, whatever the limits are.
local function take(course, user, run, holder, now)
    local all, own = all_taken(), own_taken(user)
    redis.call('HSET', SLOTS, course, value_of(user, run, holder))
    redis.call('SADD', courses_of(user), course)
    redis.call('SADD', USERS, user)
    redis.call('SET', GLOBAL, all + 1)
    redis.call('SET', counter_of(user), own + 1, 'EX', ttl)
    redis.call('ZADD', UNVERIFIED, now, course)
    redis.call('ZREM', RELEASED, course .. ':' .. run)
end

-- The slot belongs to another run, or to another caller, from now on.
local function take_over(course, user, run, holder, now)
    redis.call('HSET', SLOTS, course, value_of(user, run, holder))
    redis.call('ZADD', UNVERIFIED, now, course)
    redis.call('ZREM', RELEASED, course .. ':' .. run)
end

local function count_down(counter, left, ...)
    local value = read(counter)
    redis.call('SET', counter, value and math.max(value - 1, 0) or left, ...)
end

-- Take the course's slot away; it has one.
local function free(course, user)
    redis.call('HDEL', SLOTS, course)
    redis.call('SREM', courses_of(user), course)
    redis.call('ZREM', UNVERIFIED, course)
    count_down(GLOBAL, redis.call('HLEN', SLOTS))
    count_down(counter_of(user), redis.call('SCARD', courses_of(user)), 'EX', ttl)
end
