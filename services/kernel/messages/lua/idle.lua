-- Before scripts that look at reservations.

-- Whether nothing waits under a reservation: its entry was settled, which gives it an end, or is gone from its stream. Then the message
-- has a row, or nobody will write one. What is read from Kafka has its entries there, of which nothing is known here.
local function is_idle(seen, known)
    if redis.call('PTTL', seen) >= 0 then
        return true
    end
    local partition, entry = string.match(known, '^(%d+)|(%d+%-%d+)|')
    if not entry or redis.call('HEXISTS', 'msg:transport', partition) == 1 then
        return false
    end
    return #redis.call('XRANGE', 'msg:stream:' .. partition, entry, entry) == 0
end

-- A message's reservation, and whether it lies among the dead letters. One whose letter somebody has removed is forgotten: nothing waits
-- under it that could be replayed. Letters in Kafka's topic are not looked for.
local function reservation_of(seen)
    local known = redis.call('GET', seen)
    if not known then
        return false, false
    end
    local message = string.sub(seen, #'msg:seen:' + 1)
    local letter = redis.call('HGET', 'msg:failed', message)
    if not letter then
        return known, false
    end
    if string.find(letter, '^kafka|') or #redis.pcall('XRANGE', 'msg:dlq', letter, letter) > 0 then
        return known, true
    end
    redis.call('HDEL', 'msg:failed', message)
    redis.call('DEL', seen)
    return false, false
end
