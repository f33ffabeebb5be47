-- Frees the key and forgets the count; what is done stays.
-- KEYS[1] the mark. ARGV: token, window ms. Returns 1, or 0: fenced.
local mark = redis.call('GET', KEYS[1])
if not mark or string.sub(mark, 3, 10) ~= ARGV[1] then
	return 0
end
redis.call('SET', KEYS[1], '10' .. string.sub(mark, 3, 42) .. '\0\0\0\0' .. string.sub(mark, 47), 'PX', ARGV[2])
return 1
