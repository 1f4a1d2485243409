-- Count everything anew. ARGV[2]: Redis' time when PostgreSQL was about to be asked; ARGV[3]: for how many milliseconds a
-- reservation may go without a running course; ARGV[4]: the oldest acceptable answer in milliseconds; then the courses that
-- run: course and user (36 characters each), run.
-- What was reserved or freed while PostgreSQL answered stays as it is. Counters of users with slots live on for another hour.
-- Answers: slots added, slots removed, counters corrected, slots in all; -1 when the answer is too old to be used.
local asked, grace = tonumber(ARGV[2]), tonumber(ARGV[3])
local now = now_ms()
if now - asked > tonumber(ARGV[4]) then return {-1, 0, 0, 0} end

-- A key of another type, put there by hand, would stop every script for good.
local function sound(key, kind)
    local found = redis.call('TYPE', key).ok
    if found ~= kind and found ~= 'none' then redis.call('DEL', key) end
end
for key, kind in pairs({[SLOTS] = 'hash', [USERS] = 'set', [UNVERIFIED] = 'zset', [RELEASED] = 'zset', [GLOBAL] = 'string'}) do
    sound(key, kind)
end

local ended = {}
for _, stone in ipairs(redis.call('ZRANGEBYSCORE', RELEASED, asked, '+inf')) do
    local course, run = string.sub(stone, 1, 36), tonumber(string.sub(stone, 38))
    ended[course] = math.max(ended[course] or 0, run)
end

local before, kept, owners = {}, {}, {}
local flat = redis.call('HGETALL', SLOTS)
for place = 1, #flat, 2 do before[flat[place]] = flat[place + 1] end
for _, user in ipairs(redis.call('SMEMBERS', USERS)) do owners[user] = {} end

local added, removed, corrected, total = 0, 0, 0, 0
for place = 5, #ARGV do
    local item = ARGV[place]
    local course, user, run = string.sub(item, 1, 36), string.sub(item, 37, 72), tonumber(string.sub(item, 73))
    if not (ended[course] and ended[course] >= run) then
        local slot = before[course]
        local owner, stored = nil, 0
        if slot then owner, stored = parse(slot) end
        if owner == user and stored > run then
            kept[course] = slot
        else
            kept[course] = value_of(user, run, '')
            redis.call('ZREM', UNVERIFIED, course)
        end
        if not slot then added = added + 1 end
    end
end
for course, slot in pairs(before) do
    if not kept[course] then
        local reserved = tonumber(redis.call('ZSCORE', UNVERIFIED, course) or '')
        if reserved and reserved > asked - grace then
            kept[course] = slot
        else
            removed = removed + 1
            redis.call('HDEL', SLOTS, course)
            redis.call('ZREM', UNVERIFIED, course)
        end
        local owner = parse(slot)
        owners[owner] = owners[owner] or {}
    end
end
for _, course in ipairs(redis.call('ZRANGE', UNVERIFIED, 0, -1)) do
    if not kept[course] then redis.call('ZREM', UNVERIFIED, course) end
end
for course, slot in pairs(kept) do
    local user = parse(slot)
    owners[user] = owners[user] or {}
    table.insert(owners[user], course)
    redis.call('HSET', SLOTS, course, slot)
    total = total + 1
end

for user, courses in pairs(owners) do
    sound(counter_of(user), 'string')
    local shown = redis.call('GET', counter_of(user))
    redis.call('DEL', courses_of(user))
    if #courses == 0 then
        if shown and shown ~= '0' then corrected = corrected + 1 end
        redis.call('DEL', counter_of(user))
        redis.call('SREM', USERS, user)
    else
        if shown ~= tostring(#courses) then corrected = corrected + 1 end
        for _, course in ipairs(courses) do redis.call('SADD', courses_of(user), course) end
        redis.call('SET', counter_of(user), #courses, 'EX', ttl)
        redis.call('SADD', USERS, user)
    end
end
if (redis.call('GET', GLOBAL) or '0') ~= tostring(total) then corrected = corrected + 1 end
redis.call('SET', GLOBAL, total)
redis.call('SET', READY, now)
return {added, removed, corrected, total}
