-- Accept messages, each once. Everything of one message happens, or nothing.
-- KEYS: the reservations, one for each message. They end after the row is there, which is for settle.lua to say.
-- ARGV: partitions there are unless msg:partitions says otherwise, and from then on it does; the installation, empty when nobody asks
--       whose this is; then for each message the hash of its conversation, its digest, its envelope, and the reservation whose place it
--       takes if that is the one it has, or ''.
-- Answers in one text, a line for each message: 1 when it is new, 2 when it lies among the dead letters, 3 when nothing waits under its
-- reservation, else 0; and its reservation "<partition>|<entry id>|<digest>". Or a ! when this is another installation's, or nobody's
-- yet: nothing was written.
-- Comes after idle.lua.
if ARGV[2] ~= '' then
    if redis.call('GET', 'coursegen:installation') ~= ARGV[2] then
        return '!'
    end
end
local partitions = redis.call('GET', 'msg:partitions')
if not partitions then
    partitions = ARGV[1]
    redis.call('SET', 'msg:partitions', partitions)
end
local enqueued, lines = {}, {}
for place, seen in ipairs(KEYS) do
    local at = 4 * place - 1
    local known, failed = reservation_of(seen)
    if known and (failed or known ~= ARGV[at + 3]) then
        lines[place] = (failed and '2' or is_idle(seen, known) and '3' or '0') .. known
    else
        local partition = string.format('%d', tonumber(ARGV[at]) % tonumber(partitions))
        local entry = redis.call('XADD', 'msg:stream:' .. partition, '*', 'envelope', ARGV[at + 2])
        known = partition .. '|' .. entry .. '|' .. ARGV[at + 1]
        redis.call('SET', seen, known)
        enqueued[partition] = (enqueued[partition] or 0) + 1
        lines[place] = '1' .. known
    end
end
for partition, number in pairs(enqueued) do
    redis.call('HINCRBY', 'msg:count:' .. partition, 'enqueued', number)
end
return table.concat(lines, '\n')
