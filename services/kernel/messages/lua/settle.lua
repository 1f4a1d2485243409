-- Entries are in PostgreSQL: nobody is given them again, and their reservations are needed for a while only.
-- ARGV: how long a reservation still lives (ms), how many messages have their row, their ids; then for each partition: itself, its owner's epoch, how many entries, their ids.
-- Answers the partitions of which nothing was settled, because a later owner is at work or this one has not begun.
local refused, place = {}, 3 + tonumber(ARGV[2])
for at = 3, place - 1 do
    redis.call('PEXPIRE', 'msg:seen:' .. ARGV[at], ARGV[1])
end
while place <= #ARGV do
    local partition, epoch, count = ARGV[place], ARGV[place + 1], tonumber(ARGV[place + 2])
    local from, to = place + 3, place + 2 + count
    if later(partition, epoch) then
        refused[#refused + 1] = partition
    else
        local settled, touching = 0, 'msg:touching:' .. partition
        local has_marks = redis.call('EXISTS', touching) == 1
        for first = from, to, 500 do
            local last = math.min(first + 499, to)
            local acked = redis.pcall('XACK', stream_of(partition), GROUP, unpack(ARGV, first, last))
            settled = settled + (tonumber(acked) or 0)
            if has_marks then
                redis.call('HDEL', touching, unpack(ARGV, first, last))
            end
        end
        if has_marks then
            redis.call('HDEL', touching, 'by')
        end
        if settled > 0 then
            redis.call('HINCRBY', 'msg:count:' .. partition, 'settled', settled)
        end
    end
    place = to + 1
end
return refused
