-- Put a dead letter into the stream again, at the end of its conversation.
-- ARGV: the dead letter's id; its conversation's hash, or '' where nobody knows; its message's id, or ''; partitions there are unless
--       msg:partitions says otherwise.
-- Answers the id of its new entry, or '' when the dead letter is not there (any more).
local found = redis.call('XRANGE', 'msg:dlq', ARGV[1], ARGV[1])
if #found == 0 then
    return ''
end
local letter = as_table(found[1][2])
local partition = letter['partition'] or '0'
if ARGV[2] ~= '' then
    partition = string.format('%d', tonumber(ARGV[2]) % tonumber(redis.call('GET', 'msg:partitions') or ARGV[4]))
end
local entry = redis.call('XADD', stream_of(partition), '*', 'envelope', letter['envelope'] or '', 'accepted', letter['accepted'] or ARGV[1])
redis.call('HINCRBY', 'msg:count:' .. partition, 'enqueued', 1)
redis.pcall('XACK', 'msg:dlq', 'dlq-processors', ARGV[1])
redis.call('XDEL', 'msg:dlq', ARGV[1])
if ARGV[3] ~= '' then
    redis.call('HDEL', 'msg:failed', ARGV[3])
end
return entry
