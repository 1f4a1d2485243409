-- Take entries of several partitions, for each at most so many, and no more when its part of some 4 MiB is full: one at least, however
-- long, so that each gets on.
-- ARGV: consumer, entries of one partition, 1 to look for others' entries also where none are found, else 0; then for each
--       partition: itself, its owner's epoch, and after which entry: '>' for entries that nobody was given yet, an id for those that
--       this consumer was given and has not settled.
-- Answers for each partition {standing, ids, lengths, accepted, envelopes}. Standing: 0, the epoch of a later owner, or -1 while
-- another partition comes first, -2 when the group is gone or the epoch has not begun here, -3 when somebody else has entries of the
-- group, which may come before those found: what was taken here is pending, and is to be read again with his. Ids, lengths and the
-- ids under which they were first accepted are separated by commas; a length is -1 where an entry has no envelope, -2 where it was
-- deleted. One text for all entries is read many times as fast by the other side as thousands of small ones.
local consumer, count, looks_round = ARGV[1], tonumber(ARGV[2]), ARGV[3] == '1'
local most_bytes = 4 * 1024 * 1024 / math.max(1, (#ARGV - 3) / 3)
local most_at_once = 4 -- nobody knows how long they are before they are taken

local function length_of(entry)
    local length = 0
    for _, text in ipairs(entry[2] or {}) do
        length = length + #text
    end
    return length
end

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

-- Whether anybody else has entries: who owns the partition has taken over all there were, so it is no worker.
local function has_strangers(stream)
    for _, each in ipairs(redis.call('XPENDING', stream, GROUP)[4] or {}) do
        if each[1] ~= consumer then
            return true
        end
    end
    return false
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
    local entries, bytes, asked = {}, 0, 1
    repeat
        local found = redis.pcall('XREADGROUP', 'GROUP', GROUP, consumer, 'COUNT', asked, 'STREAMS', stream, after)
        if found and found.err then
            if string.find(found.err, 'NOGROUP') then
                return { -2 }
            end
            return redis.error_reply(found.err)
        end
        local some = found and found[1][2] or {}
        for _, entry in ipairs(some) do
            entries[#entries + 1] = entry
            bytes = bytes + length_of(entry)
        end
        local has_more = #some == asked
        if has_more and after ~= '>' then
            after = entries[#entries][1]
        end
        local fitting = bytes > 0 and math.floor((most_bytes - bytes) * #entries / bytes) or most_at_once
        asked = math.min(most_at_once, count - #entries, fitting)
    until not has_more or asked < 1
    if (looks_round or #entries > 0) and has_strangers(stream) then
        return { -3 }
    end
    return entries_of(entries)
end

local answers = {}
for place = 4, #ARGV, 3 do
    local answer = read(ARGV[place], ARGV[place + 1], ARGV[place + 2])
    if answer.err then
        return answer
    end
    answers[#answers + 1] = answer
end
return answers
