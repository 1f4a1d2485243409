-- Note that an entry is about to be handled alone, or (-1) that whoever handled it has survived.
-- ARGV: partition, epoch, entry's id, 1 or -1, consumer.
-- Answers {epoch of a later owner, -2 when this one has not begun, or 0; how often handling was begun and not survived}.
-- A consumer counts once, however often it says so: it lives, and merely has not heard the answer.
local succeeded = later(ARGV[1], ARGV[2])
if succeeded then
    return { succeeded, 0 }
end
local touching, entry, consumer = 'msg:touching:' .. ARGV[1], ARGV[3], ARGV[5]
local mark = entry .. ' ' .. consumer
local is_noted = redis.call('HGET', touching, 'by') == mark
local times = tonumber(redis.call('HGET', touching, entry) or '0')
if is_noted == (tonumber(ARGV[4]) > 0) then
    return { 0, times }
end
times = redis.call('HINCRBY', touching, entry, ARGV[4])
if is_noted then
    redis.call('HDEL', touching, 'by')
else
    redis.call('HSET', touching, 'by', mark)
end
if times <= 0 then
    redis.call('HDEL', touching, entry)
end
return { 0, times }
