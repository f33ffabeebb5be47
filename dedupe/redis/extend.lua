-- Moves the end of the lease to ARGV[2] ms from now.
-- KEYS[1] the mark. ARGV: token, lease ms, window ms. Returns 1, or 0: fenced.
local mark = redis.call('HMGET', KEYS[1], 'token', 'held')
if mark[1] ~= ARGV[1] or mark[2] ~= '1' then
	return 0
end
local time = redis.call('TIME')
local now = tonumber(time[1]) * 1000 + math.floor(tonumber(time[2]) / 1000)
redis.call('HSET', KEYS[1], 'ends', string.format('%.0f', now + tonumber(ARGV[2])))
redis.call('PEXPIRE', KEYS[1], ARGV[3])
return 1
