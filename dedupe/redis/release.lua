-- Frees the key and keeps the count, or takes the attempt off it.
-- KEYS[1] the mark. ARGV: token, window ms, 1: the attempt counts.
-- Returns 1, or 0: fenced.
local mark = redis.call('HMGET', KEYS[1], 'token', 'held', 'attempts')
if mark[1] ~= ARGV[1] then
	return 0
end
if mark[2] ~= '1' then
	return 1 -- said before, and the answer was lost
end
local attempts = tonumber(mark[3])
if ARGV[3] ~= '1' and attempts > 0 then
	attempts = attempts - 1
end
redis.call('HSET', KEYS[1], 'held', '0', 'attempts', attempts)
redis.call('PEXPIRE', KEYS[1], ARGV[2])
return 1
