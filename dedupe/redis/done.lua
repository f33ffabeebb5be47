-- Records that what was begun is done, and frees the key.
-- KEYS[1] the mark. ARGV: token, window ms, how many effects are in one mark.
-- Returns 1, or 0: fenced.
local mark = redis.call('GET', KEYS[1])
if not mark or string.sub(mark, 3, 10) ~= ARGV[1] then
	return 0
end
local effect, done = string.sub(mark, 11, 26), string.sub(mark, 47)
for i = 1, #done, 16 do
	if string.sub(done, i, i + 15) == effect then
		return 1 -- said before, and the answer was lost
	end
end
done = done .. effect
-- What there is no room for gets a mark of its own, in the slot of this one, whose
-- window begins anew: when it was done is not known any more.
while #done > 16 * tonumber(ARGV[3]) do
	local hex = string.gsub(string.sub(done, 1, 16), '.', function(byte) return string.format('%02x', string.byte(byte)) end)
	redis.call('SET', 'remora:dedupe:{' .. KEYS[1] .. '}' .. hex, '1', 'PX', ARGV[2])
	done = string.sub(done, 17)
end
redis.call('SET', KEYS[1], '10' .. string.sub(mark, 3, 42) .. '\0\0\0\0' .. done, 'PX', ARGV[2])
return 1
