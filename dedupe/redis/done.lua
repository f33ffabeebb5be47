-- Records that what was begun is done, and frees the key.
-- KEYS[1] the mark. ARGV: token, window ms, how many effects are in one mark.
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
done = done .. effect
-- What there is no room for gets a mark of its own, in the slot of this one, whose
-- window begins anew: when it was done is not known any more.
while #done > 32 * most do
	local oldest = string.sub(done, 1, 32)
	local own = 'remora:dedupe:{' .. KEYS[1] .. '}' .. oldest
	redis.call('HSET', own, 'done', oldest)
	redis.call('PEXPIRE', own, ARGV[2])
	done = string.sub(done, 33)
end
redis.call('HSET', KEYS[1], 'held', '0', 'attempts', '0', 'done', done)
redis.call('PEXPIRE', KEYS[1], ARGV[2])
return 1
