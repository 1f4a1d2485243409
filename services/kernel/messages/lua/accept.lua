-- Accept messages, each once. Everything of one message happens, or nothing.
-- KEYS: the reservations, one for each message.
-- ARGV: how long a reservation lives (ms); partitions there are unless msg:partitions says otherwise; then for each message the
--       hash of its conversation, its digest, its envelope.
-- Answers in one text, a line for each message: 1 when it is new, else 0; and its reservation "<partition>|<entry id>|<digest>".
local partitions = tonumber(redis.call('GET', 'msg:partitions') or ARGV[2])
local enqueued, lines = {}, {}
for place, seen in ipairs(KEYS) do
    local known = redis.call('GET', seen)
    if known then
        lines[place] = '0' .. known
    else
        local at = 3 * place
        local partition = string.format('%d', tonumber(ARGV[at]) % partitions)
        local entry = redis.call('XADD', 'msg:stream:' .. partition, '*', 'envelope', ARGV[at + 2])
        known = partition .. '|' .. entry .. '|' .. ARGV[at + 1]
        redis.call('SET', seen, known, 'PX', ARGV[1])
        enqueued[partition] = (enqueued[partition] or 0) + 1
        lines[place] = '1' .. known
    end
end
for partition, number in pairs(enqueued) do
    redis.call('HINCRBY', 'msg:count:' .. partition, 'enqueued', number)
end
return table.concat(lines, '\n')
