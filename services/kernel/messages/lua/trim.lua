-- Cut off what was settled long ago, or more of it than is to be kept; never what was not settled. Where nothing waits, the counts are
-- set right: an entry that somebody has deleted by hand before it was read is settled by nobody, and would count as waiting for ever.
-- ARGV: partition, milliseconds for which settled entries are kept, how many of them at most, most entries to look at.
-- Answers {how many were cut off; 1 when there may be more to cut, else 0}.
local partition, keep_ms, keep, most = ARGV[1], tonumber(ARGV[2]), tonumber(ARGV[3]), tonumber(ARGV[4])
local stream = stream_of(partition)
local group = group_of(stream)
if not group then
    return { 0, 0 }
end
local oldest = oldest_pending(stream)
local safe = oldest or group['last-delivered-id']
local time = redis.call('TIME')
local cut = string.format('%.0f-0', math.max(0, time[1] * 1000 + math.floor(time[2] / 1000) - keep_ms))
local counts = redis.call('HMGET', 'msg:count:' .. partition, 'enqueued', 'settled')
local enqueued, settled = tonumber(counts[1] or '0'), tonumber(counts[2] or '0')
if settled ~= enqueued and not oldest and #redis.call('XRANGE', stream, '(' .. safe, '+', 'COUNT', 1) == 0 then
    redis.call('HSET', 'msg:count:' .. partition, 'settled', enqueued)
    settled = enqueued
end
local lag = math.max(0, enqueued - settled)
local surplus = redis.call('XLEN', stream) - lag - keep
local more = 0
if surplus > 0 then
    local first = redis.call('XRANGE', stream, '-', '+', 'COUNT', math.min(surplus, most) + 1)
    local first_kept = first[#first][1]
    if comes_before(cut, first_kept) then
        cut = first_kept
    end
    more = surplus > most and comes_before(cut, safe) and 1 or 0
end
if comes_before(safe, cut) then
    cut = safe
end
return { redis.call('XTRIM', stream, 'MINID', '=', cut), more }
