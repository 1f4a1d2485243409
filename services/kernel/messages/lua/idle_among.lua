-- Which of these reservations nothing waits under.
-- KEYS: the reservations.
-- Answers for each 1 or 0; 0 where there is none, and where the message lies among the dead letters.
-- Comes after idle.lua.
local answers = {}
for place, seen in ipairs(KEYS) do
    local known, failed = reservation_of(seen)
    answers[place] = known and not failed and is_idle(seen, known) and 1 or 0
end
return answers
