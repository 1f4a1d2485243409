-- Remember messages whose records are in Kafka.
-- ARGV: for each message its id and "<partition>|<entry id>|<digest>".
-- Answers for each the reservation that holds: this one, or that of whoever was quicker.
local answers = {}
for place = 1, #ARGV, 2 do
    local seen = 'msg:seen:' .. ARGV[place]
    redis.call('SET', seen, ARGV[place + 1], 'NX')
    redis.call('DEL', 'msg:claim:' .. ARGV[place])
    answers[#answers + 1] = redis.call('GET', seen)
end
return answers
