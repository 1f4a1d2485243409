-- Ask for slots. ARGV[2]: the global limit; then for each: course and user (36 characters each), run:user limit:holder.
-- Answers two numbers for each: what was decided, and the count that decided it.
--   1 taken   0 the course has its slot already   -1 the counters cannot be believed   -2 user's limit   -3 global limit
-- A course that has a slot of an earlier run takes it over and is not counted again.
local global_limit = tonumber(ARGV[2])
local is_ready, now = redis.call('EXISTS', READY) == 1, now_ms()
local answer = {}

local function decide(course, user, run, limit, holder)
    if not is_ready then return -1, 0 end
    local slot = redis.call('HGET', SLOTS, course)
    if slot then
        local owner, stored = parse(slot)
        if owner == user then
            if run <= stored then return 0, 0 end
            take_over(course, user, run, holder, now)
            return 1, 0
        end
        free(course, owner)
    end
    local own, all = own_taken(user), all_taken()
    redis.call('SADD', USERS, user)
    if own >= limit then return -2, own end
    if all >= global_limit then return -3, all end
    take(course, user, run, holder, now)
    return 1, own + 1
end

for place = 3, #ARGV do
    local item = ARGV[place]
    local run, limit, holder = string.match(item, '^(%d+):(%d+):(.*)$', 73)
    local decision, count = decide(
        string.sub(item, 1, 36), string.sub(item, 37, 72), tonumber(run), tonumber(limit), holder
    )
    answer[#answer + 1] = decision
    answer[#answer + 1] = count
end
return answer
