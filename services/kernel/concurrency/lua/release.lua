-- Give slots back. From ARGV[2] on: course (36 characters), run:holder. Answers 1 for each that was freed, else 0.
-- Freed is a slot of this run or an earlier one, never a later run's; with a holder only if he still holds it. Without one
-- the run has ended, which is remembered for a minute: a count that began before must not bring it back.
local now = now_ms()
local answer = {}
redis.call('ZREMRANGEBYSCORE', RELEASED, '-inf', now - TOMBSTONE_MS)
for place = 2, #ARGV do
    local item = ARGV[place]
    local course = string.sub(item, 1, 36)
    local digits, holder = string.match(item, '^(%d+):(.*)$', 37)
    local run = tonumber(digits)
    local slot = redis.call('HGET', SLOTS, course)
    local freed = 0
    if slot then
        local user, stored, held_by = parse(slot)
        if stored <= run and (holder == '' or holder == held_by) then
            free(course, user)
            freed = 1
        end
    end
    if holder == '' then redis.call('ZADD', RELEASED, now, course .. ':' .. digits) end
    answer[#answer + 1] = freed
end
return answer
