-- Divide every partition in two: conversations of partition p go to p or to p + old from now on.
-- ARGV: partitions there are to be; partitions there are unless msg:partitions says otherwise.
-- Answers {how many there were; how many of them still wait for the partition they come from}. Nothing was changed unless the first
-- is half of what there are to be, and the second 0: a partition that waits has too few entries to say what comes before its half.
local new = tonumber(ARGV[1])
local old = tonumber(redis.call('GET', 'msg:partitions') or ARGV[2])
if new ~= 2 * old then
    return { old, 0 }
end
local waiting = 0
for partition = 0, old - 1 do
    waiting = waiting + (waits(partition) and 1 or 0)
end
if waiting > 0 then
    return { old, waiting }
end
for parent = 0, old - 1 do
    local last = redis.call('XREVRANGE', stream_of(parent), '+', '-', 'COUNT', 1)
    local barrier = 'msg:barrier:' .. (parent + old)
    if last[1] then
        redis.call('HSET', barrier, 'parent', parent, 'last', last[1][1])
    else
        redis.call('DEL', barrier)
    end
    if not group_of(stream_of(parent + old)) then
        redis.call('XGROUP', 'CREATE', stream_of(parent + old), GROUP, '0', 'MKSTREAM')
    end
end
redis.call('SET', 'msg:partitions', new)
return { old, 0 }
