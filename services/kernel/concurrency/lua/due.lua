-- Up to ARGV[3] reservations made ARGV[2] milliseconds ago or earlier that nobody has verified: course, when, course, when…
return redis.call(
    'ZRANGEBYSCORE', UNVERIFIED, '-inf', now_ms() - tonumber(ARGV[2]), 'WITHSCORES', 'LIMIT', 0, tonumber(ARGV[3])
)
