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

local function has_failed(seen)
    return redis.call('HEXISTS', 'msg:failed', string.sub(seen, #'msg:seen:' + 1)) == 1
end
