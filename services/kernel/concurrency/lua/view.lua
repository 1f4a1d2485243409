-- What is shown: whether the counters can be believed, the global one, then for each user who has or wanted slots: user, count.
local answer = {redis.call('EXISTS', READY), all_taken()}
for _, user in ipairs(redis.call('SMEMBERS', USERS)) do
    answer[#answer + 1] = user
    answer[#answer + 1] = own_taken(user)
end
return answer
