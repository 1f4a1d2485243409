-- Begin to own a partition: nothing of an earlier owner counts from now on, and what was delivered to it is the new one's.
-- ARGV: partition, epoch, consumer.
-- Answers {epoch of a later owner, or 0; how many entries were taken over; id of the last entry that was delivered}.
local partition, epoch, consumer = ARGV[1], ARGV[2], ARGV[3]
local succeeded = later(partition, epoch)
if succeeded and succeeded > 0 then
    return { succeeded, 0, '' }
end
redis.call('HSET', 'msg:epochs', partition, epoch)
local stream = stream_of(partition)
if not group_of(stream) then
    redis.call('XGROUP', 'CREATE', stream, GROUP, '0', 'MKSTREAM')
end
local taken, from = 0, '0-0'
repeat
    local reply = redis.call('XAUTOCLAIM', stream, GROUP, consumer, 0, from, 'COUNT', 500, 'JUSTID')
    from, taken = reply[1], taken + #reply[2]
    if reply[3] and #reply[3] > 0 then -- somebody has deleted them by hand; they are not waited for
        redis.call('HINCRBY', 'msg:count:' .. partition, 'settled', #reply[3])
    end
until from == '0-0'
for _, flat in ipairs(redis.call('XINFO', 'CONSUMERS', stream, GROUP)) do
    local other = as_table(flat)
    if other['name'] ~= consumer and other['pending'] == 0 then
        redis.call('XGROUP', 'DELCONSUMER', stream, GROUP, other['name'])
    end
end
return { 0, taken, group_of(stream)['last-delivered-id'] }
