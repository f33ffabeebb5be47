-- Takes a key that has a mark, where nobody holds it. (One that has none is taken by
-- SET NX: see redis.go.)
-- KEYS[1] the mark. ARGV: token, effect, lease and window in ms as the mark has
-- them, window in ms, how many effects are in one mark.
-- Returns verdict, conflict, attempts, ms until the lease ends.
local IN_PROGRESS, BEGUN, REPEAT = 0, 1, 2
local token, effect, spans, window, most = ARGV[1], ARGV[2], ARGV[3], ARGV[4], tonumber(ARGV[5])

local function answer(verdict, conflict, attempts, left)
	return struct.pack('>BBI4I8', verdict, conflict, attempts, left)
end

local function write(attempts, done)
	redis.call('SET', KEYS[1], '11' .. token .. effect .. spans .. struct.pack('>I4', attempts) .. done, 'PX', window)
	return answer(BEGUN, done == '' and 0 or 1, attempts, (struct.unpack('>I8', spans)))
end

local mark = redis.call('GET', KEYS[1])
if not mark then
	return write(1, '')
end
local _, held, holder, former, lease, life, attempts, at = struct.unpack('>c1c1c8c16I8I8I4', mark)
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
		-- The same holder: sent again, because the answer was lost.
		return answer(holder == token and BEGUN or IN_PROGRESS, done == '' and 0 or 1, attempts, left)
	end
end
return write(former == effect and attempts + 1 or 1, done)
