-- Frees the key and forgets the count; what is done stays.
-- KEYS[1] the mark. ARGV: token, window ms. Returns 1, or 0: fenced.
if redis.call('HGET', KEYS[1], 'token') ~= ARGV[1] then
	return 0
end
redis.call('HSET', KEYS[1], 'held', '0', 'attempts', '0')
redis.call('PEXPIRE', KEYS[1], ARGV[2])
return 1
