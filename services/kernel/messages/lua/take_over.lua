-- Begin to own a partition: nothing of an earlier owner counts from now on, and what was delivered to it is the new one's.
-- ARGV: partition, epoch, consumer, installation; empty when nobody asks whose this is.
-- Answers {epoch of a later owner, or 0; how many entries were taken over; id of the last entry that was delivered; ids of entries
-- that somebody has deleted before they were settled, which are dead letters now; 1 when this is another installation's, or nobody's
-- yet, and then nothing was done}.
local function bury_missing(partition, entry)
    redis.call('XADD', 'msg:dlq', '*', 'entry', entry, 'accepted', entry, 'partition', partition, 'deliveries', '1',
        'failedAt', now_ms(), 'reason', 'missing', 'attempts', '1', 'errorClass', 'Undecodable',
        'error', 'The entry was deleted from its stream.', 'envelope', '')
    redis.call('HINCRBY', 'msg:count:' .. partition, 'settled', 1)
    redis.call('HDEL', 'msg:touching:' .. partition, entry)
end

local partition, epoch, consumer, installation = ARGV[1], ARGV[2], ARGV[3], ARGV[4]
if installation ~= '' then
    if redis.call('GET', 'coursegen:installation') ~= installation then
        return { 0, 0, '', {}, 1 }
    end
end
local succeeded = later(partition, epoch)
if succeeded and succeeded > 0 then
    return { succeeded, 0, '', {}, 0 }
end
redis.call('HSET', 'msg:epochs', partition, epoch)
local stream = stream_of(partition)
if not group_of(stream) then
    redis.call('XGROUP', 'CREATE', stream, GROUP, '0', 'MKSTREAM')
end
local taken, missing, from = 0, {}, '0-0'
repeat
    local reply = redis.call('XAUTOCLAIM', stream, GROUP, consumer, 0, from, 'COUNT', 500, 'JUSTID')
    from, taken = reply[1], taken + #reply[2]
    for _, entry in ipairs(reply[3] or {}) do -- from Redis 7 on they are pending no more; before, whoever reads them buries them
        bury_missing(partition, entry)
        missing[#missing + 1] = entry
    end
until from == '0-0'
for _, flat in ipairs(redis.call('XINFO', 'CONSUMERS', stream, GROUP)) do
    local other = as_table(flat)
    if other['name'] ~= consumer and other['pending'] == 0 then
        redis.call('XGROUP', 'DELCONSUMER', stream, GROUP, other['name'])
    end
end
return { 0, taken, group_of(stream)['last-delivered-id'], missing, 0 }
