-- Frees the key and keeps the count, or takes the attempt off it.
-- KEYS[1] the mark. ARGV: token, window ms, 1: the attempt counts.
-- Returns 1, or 0: fenced.
local mark = redis.call('GET', KEYS[1])
if not mark or string.sub(mark, 3, 10) ~= ARGV[1] then
	return 0
end
if string.sub(mark, 2, 2) ~= '1' then
	return 1 -- said before, and the answer was lost
end
local attempts = struct.unpack('>I4', mark, 43)
if ARGV[3] ~= '1' and attempts > 0 then
	attempts = attempts - 1
end
redis.call('SET', KEYS[1], '10' .. string.sub(mark, 3, 42) .. struct.pack('>I4', attempts) .. string.sub(mark, 47), 'PX', ARGV[2])
return 1
