-- Moves the end of the lease to that much from now, unless it is later already: a copy of
-- an earlier call may come late, and must not take back what a longer one has said since.
-- KEYS[1] the mark. ARGV: token, window ms, lease and window in ms as the mark has
-- them. Returns 1, or 0: fenced.
local mark = redis.call('GET', KEYS[1])
if not mark or string.sub(mark, 3, 10) ~= ARGV[1] or string.sub(mark, 2, 2) ~= '1' then
	return 0
end
local lease, life = struct.unpack('>I8I8', mark, 27)
if lease - (life - redis.call('PTTL', KEYS[1])) < struct.unpack('>I8', ARGV[3]) then
	redis.call('SET', KEYS[1], string.sub(mark, 1, 26) .. ARGV[3] .. string.sub(mark, 43), 'PX', ARGV[2])
end
return 1
