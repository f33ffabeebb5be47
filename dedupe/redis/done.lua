-- Records that what was begun is done, and frees the key.
-- KEYS[1] the mark. ARGV: token, window ms, how many effects are kept.
-- Returns 1, or 0: fenced.
local mark = redis.call('HMGET', KEYS[1], 'token', 'effect', 'done')
if mark[1] ~= ARGV[1] then
	return 0
end
local effect, done, most = mark[2], mark[3], tonumber(ARGV[3])
for i = 1, #done, 32 do
	if string.sub(done, i, i + 31) == effect then
		return 1 -- said before, and the answer was lost
	end
end
done = string.sub(done .. effect, -32 * most)
redis.call('HSET', KEYS[1], 'held', '0', 'attempts', '0', 'done', done)
redis.call('PEXPIRE', KEYS[1], ARGV[2])
return 1
