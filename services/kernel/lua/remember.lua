-- Set every key to its value with one time to live. KEYS: names; ARGV: seconds, then a value for each name.
for place, name in ipairs(KEYS) do
    redis.call('SET', name, ARGV[place + 1], 'EX', ARGV[1])
end
return #KEYS
