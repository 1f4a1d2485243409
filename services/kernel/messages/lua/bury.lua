-- Put an entry that cannot be persisted among the dead letters, if it is still to be persisted.
-- ARGV: partition, epoch, entry's id, message's id or '', then names and values that say why.
-- Answers {epoch of a later owner, -2 when this one has not begun, or 0; the dead letter's id, or '' when the entry was settled meanwhile}.
local partition, entry, message = ARGV[1], ARGV[3], ARGV[4]
local succeeded = later(partition, ARGV[2])
if succeeded then
    return { succeeded, '' }
end
local stream = stream_of(partition)
local pending = redis.call('XPENDING', stream, GROUP, entry, entry, 1)
if #pending == 0 then
    return { 0, '' }
end
local found = redis.call('XRANGE', stream, entry, entry)
local fields = found[1] and found[1][2] and as_table(found[1][2]) or {}
local letter = {
    'entry', entry, 'accepted', first_accepted(fields, entry), 'partition', partition,
    'deliveries', tostring(pending[1][4]), 'failedAt', now_ms(),
}
for place = 5, #ARGV do
    letter[#letter + 1] = ARGV[place]
end
letter[#letter + 1] = 'envelope'
letter[#letter + 1] = fields['envelope'] or ''
local dead = redis.call('XADD', 'msg:dlq', '*', unpack(letter))
redis.call('XACK', stream, GROUP, entry)
redis.call('HINCRBY', 'msg:count:' .. partition, 'settled', 1)
redis.call('HDEL', 'msg:touching:' .. partition, entry, 'by')
if message ~= '' then
    redis.call('HSET', 'msg:failed', message, dead)
end
return { 0, dead }
