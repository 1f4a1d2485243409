-- What is remembered of messages that have been among the dead letters.
-- KEYS: their reservations.
-- Answers for each 2 when it lies there, else 0, and its reservation; '' where there is none (any more).
-- Comes after idle.lua.
local answers = {}
for place, seen in ipairs(KEYS) do
    local known, failed = reservation_of(seen)
    answers[place] = known and ((failed and '2' or '0') .. known) or ''
end
return answers
