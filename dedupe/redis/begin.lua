-- Takes a key whose mark is still the one that look.lua found free. Whoever begins writes
-- a token of its own, so it is not that one again: a copy of the call that comes late,
-- over a connection that hung, changes nothing, whoever has had the key since.
-- KEYS[1] the mark. ARGV: token, effect, lease and window in ms as the mark has
-- them, window in ms, the mark as it was seen.
-- Returns verdict, conflict, attempts, ms until the lease ends.
local IN_PROGRESS, BEGUN = 0, 1
local token, effect, spans, window, seen = ARGV[1], ARGV[2], ARGV[3], ARGV[4], ARGV[5]

local function answer(verdict, done, attempts, left)
	return struct.pack('>BBI4I8', verdict, done == '' and 0 or 1, attempts, left)
end

local mark = redis.call('GET', KEYS[1]) or ''
local held, holder, former, lease, life, attempts, done = '0', '', '', 0, 0, 0, ''
if mark ~= '' then
	local _, at
	_, held, holder, former, lease, life, attempts, at = struct.unpack('>c1c1c8c16I8I8I4', mark)
	done = string.sub(mark, at)
end
local left = held == '1' and lease - (life - redis.call('PTTL', KEYS[1])) or 0
if left > 0 then
	-- The same holder: sent again, because the answer was lost.
	return answer(holder == token and BEGUN or IN_PROGRESS, done, attempts, left)
end
if mark ~= seen then
	return answer(IN_PROGRESS, done, attempts, 0) -- somebody was faster: look again
end
attempts = former == effect and attempts + 1 or 1
redis.call('SET', KEYS[1], '11' .. token .. effect .. spans .. struct.pack('>I4', attempts) .. done, 'PX', window)
return answer(BEGUN, done, attempts, (struct.unpack('>I8', spans)))
