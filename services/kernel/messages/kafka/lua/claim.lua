-- Claim messages that are about to be put into Kafka.
-- ARGV: seconds for which a claim lives, then for each message its id and its partition.
-- Answers for each message: 1 when the claim is new, 3 when there is one already; 0 and the reservation when it has one, 2 and that when
-- it lies among the dead letters; 4 while its partition's stream has entries that were not copied into Kafka.
-- Comes after order.lua and idle.lua.
local function is_behind(partition)
    local last = redis.call('XREVRANGE', 'msg:stream:' .. partition, '+', '-', 'COUNT', 1)
    return last[1] and comes_before(redis.call('GET', 'msg:copied:' .. partition) or '0-0', last[1][1])
end

local answers = {}
for place = 2, #ARGV, 2 do
    local message = ARGV[place]
    local known, failed = reservation_of('msg:seen:' .. message)
    if known then
        answers[#answers + 1] = (failed and '2' or '0') .. known
    elseif is_behind(ARGV[place + 1]) then
        answers[#answers + 1] = '4'
    elseif redis.call('SET', 'msg:claim:' .. message, '', 'NX', 'EX', ARGV[1]) then
        answers[#answers + 1] = '1'
    else
        answers[#answers + 1] = '3'
    end
end
return answers
