-- Looks whether a key that has a mark may be begun. (One that has none is taken by
-- SET NX: see redis.go.) Changes nothing.
-- KEYS[1] the mark. ARGV: token, effect, how many effects are in one mark.
-- Returns verdict, conflict, attempts, ms until the lease ends; or FREE and the mark,
-- empty where it is gone, for begin.lua.
local IN_PROGRESS, BEGUN, REPEAT, FREE = 0, 1, 2, 3
local token, effect, most = ARGV[1], ARGV[2], tonumber(ARGV[3])

local function answer(verdict, conflict, attempts, left)
	return struct.pack('>BBI4I8', verdict, conflict, attempts, left)
end

local mark = redis.call('GET', KEYS[1])
if not mark then
	return string.char(FREE)
end
local _, held, holder, _, lease, life, attempts, at = struct.unpack('>c1c1c8c16I8I8I4', mark)
local done = string.sub(mark, at)
for i = 1, #done, 16 do
	if string.sub(done, i, i + 15) == effect then
		return answer(REPEAT, 0, attempts, 0)
	end
end
if #done >= 16 * most then -- others have marks of their own: see done.lua
	local hex = string.gsub(effect, '.', function(byte) return string.format('%02x', string.byte(byte)) end)
	if redis.call('EXISTS', 'remora:dedupe:{' .. KEYS[1] .. '}' .. hex) == 1 then
		return answer(REPEAT, 0, attempts, 0)
	end
end
if held == '1' then
	local left = lease - (life - redis.call('PTTL', KEYS[1]))
	if left > 0 then
		-- The same holder: it began before, and the answer was lost.
		return answer(holder == token and BEGUN or IN_PROGRESS, done == '' and 0 or 1, attempts, left)
	end
end
return string.char(FREE) .. mark
