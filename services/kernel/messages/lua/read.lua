-- Take entries of several partitions, for each at most so many.
-- ARGV: consumer, entries of one partition; then for each partition: itself, its owner's epoch, and after which entry: '>' for
--       entries that nobody was given yet, an id for those that this consumer was given and has not settled.
-- Answers for each partition {standing, ids, lengths, accepted, envelopes}. Standing: 0, the epoch of a later owner, or -1 while
-- another partition comes first, -2 when the group is gone or the epoch has not begun here. Ids, lengths and the ids under which they were first accepted are
-- separated by commas; a length is -1 where an entry has no envelope, -2 where it was deleted. One text for all entries is read many
-- times as fast by the other side as thousands of small ones.
local consumer, count = ARGV[1], ARGV[2]

local function entries_of(found)
    local ids, lengths, accepted, envelopes = {}, {}, {}, {}
    for place, entry in ipairs(found) do
        local fields = entry[2] and as_table(entry[2]) or nil
        local envelope = fields and fields['envelope']
        ids[place] = entry[1]
        accepted[place] = fields and first_accepted(fields, entry[1]) or entry[1]
        lengths[place] = envelope and #envelope or fields and -1 or -2
        envelopes[place] = envelope or ''
    end
    return { 0, table.concat(ids, ','), table.concat(lengths, ','), table.concat(accepted, ','), table.concat(envelopes) }
end

local function read(partition, epoch, after)
    local succeeded = later(partition, epoch)
    if succeeded then
        return { succeeded }
    end
    if waits(partition) then
        return { -1 }
    end
    local stream = stream_of(partition)
    local found = redis.pcall('XREADGROUP', 'GROUP', GROUP, consumer, 'COUNT', count, 'STREAMS', stream, after)
    if found and found.err then
        if string.find(found.err, 'NOGROUP') then
            return { -2 }
        end
        return redis.error_reply(found.err)
    end
    return entries_of(found and found[1][2] or {})
end

local answers = {}
for place = 3, #ARGV, 3 do
    local answer = read(ARGV[place], ARGV[place + 1], ARGV[place + 2])
    if answer.err then
        return answer
    end
    answers[#answers + 1] = answer
end
return answers
