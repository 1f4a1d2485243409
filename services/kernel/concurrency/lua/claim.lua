-- Note slots of courses that run already, whatever the limits are. From ARGV[2] on: course and user (36 characters each), run.
-- Whoever held the slot before holds it no longer: it is the run's own. A run that has ended meanwhile gets none.
local now = now_ms()
for place = 2, #ARGV do
    local item = ARGV[place]
    local course, user, run = string.sub(item, 1, 36), string.sub(item, 37, 72), tonumber(string.sub(item, 73))
    local slot = redis.call('HGET', SLOTS, course)
    local owner, stored = nil, nil
    if slot then owner, stored = parse(slot) end
    if slot and owner ~= user then
        free(course, owner)
        slot = false
    end
    if not redis.call('ZSCORE', RELEASED, course .. ':' .. run) then
        if not slot then
            take(course, user, run, '', now)
        elseif stored <= run then
            take_over(course, user, run, '', now)
        end
    end
end
return #ARGV - 1
