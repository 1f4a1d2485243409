-- Note that an entry is about to be handled alone, or (-1) that whoever handled it has survived.
-- ARGV: partition, epoch, entry's id, 1 or -1.
-- Answers {epoch of a later owner, -2 when this one has not begun, or 0; how often handling was begun and not survived}.
local succeeded = later(ARGV[1], ARGV[2])
if succeeded then
    return { succeeded, 0 }
end
local touching = 'msg:touching:' .. ARGV[1]
local times = redis.call('HINCRBY', touching, ARGV[3], ARGV[4])
if times <= 0 then
    redis.call('HDEL', touching, ARGV[3])
end
return { 0, times }
