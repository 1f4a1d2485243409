-- Put a dead letter into the stream again, at the end of its conversation.
-- ARGV: the dead letter's id; its conversation's hash, or '' where nobody knows; its message's id and digest, or ''; partitions there
--       are unless msg:partitions says otherwise.
-- Answers the id of its new entry, or '' when the dead letter is not there (any more), or is of an entry that was deleted: nothing is
-- left of that which could go into a stream, so its letter stays as it is. From then on the message's reservation names the new entry,
-- where it is found, and when it was accepted first.
local found = redis.call('XRANGE', 'msg:dlq', ARGV[1], ARGV[1])
if #found == 0 then
    return ''
end
local letter, message = as_table(found[1][2]), ARGV[3]
if letter['reason'] == 'missing' and (letter['envelope'] or '') == '' then
    return ''
end
local count, partition = tonumber(redis.call('GET', 'msg:partitions') or ARGV[5]), '0'
if ARGV[2] ~= '' then
    partition = string.format('%d', tonumber(ARGV[2]) % count)
elseif string.match(letter['partition'] or '', '^%d%d?%d?%d?$') and tonumber(letter['partition']) < count then
    partition = string.format('%d', tonumber(letter['partition']))
end
local accepted = first_accepted(letter, ARGV[1])
local entry = redis.call('XADD', stream_of(partition), '*', 'envelope', letter['envelope'] or '', 'accepted', accepted)
redis.call('HINCRBY', 'msg:count:' .. partition, 'enqueued', 1)
redis.pcall('XACK', 'msg:dlq', 'dlq-processors', ARGV[1])
redis.call('XDEL', 'msg:dlq', ARGV[1])
if message ~= '' then
    redis.call('HDEL', 'msg:failed', message)
    redis.call('SET', 'msg:seen:' .. message, table.concat({ partition, entry, ARGV[4], accepted }, '|'))
end
return entry
