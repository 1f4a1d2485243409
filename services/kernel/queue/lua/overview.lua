-- The queue in figures; reads only.
-- ARGV: none.
-- Returns {jobs in each waiting list, {scheduled, running, dead, paused, live workers}}.
local function count(command, ...)
  local n = redis.pcall(command, ...)
  return type(n) == 'number' and n or 0
end

return {lengths_of_lists(), {
  count('ZCOUNT', INCOMPLETE, '(0', '+inf'),
  length(ACTIVE),
  count('HLEN', Q .. ':poison'),
  redis.call('EXISTS', PAUSED),
  count('ZCOUNT', WORKERS, '(' .. string.format('%.3f', now()), '+inf'),
}}
