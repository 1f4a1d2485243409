-- Verify reservations. From ARGV[2] on: course (36 characters), when it was reserved:the run that is under way, 0 for none.
-- A slot whose course runs is the run's; any other is freed. One that was reserved again meanwhile is left alone.
-- Answers how many were freed.
local freed = 0
for place = 2, #ARGV do
    local item = ARGV[place]
    local course = string.sub(item, 1, 36)
    local score, digits = string.match(item, '^(%d+):(%d+)$', 37)
    local reserved = redis.call('ZSCORE', UNVERIFIED, course)
    if reserved and tonumber(reserved) == tonumber(score) then
        local run, slot = tonumber(digits), redis.call('HGET', SLOTS, course)
        if slot and run == 0 then
            free(course, (parse(slot)))
            freed = freed + 1
        else
            redis.call('ZREM', UNVERIFIED, course)
            if slot then redis.call('HSET', SLOTS, course, value_of((parse(slot)), run, '')) end
        end
    end
end
return freed
