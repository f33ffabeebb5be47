-- Records that what was begun is done, and frees the keys, each by itself.
-- KEYS the marks. ARGV: how many effects are in one mark; then for each mark its
-- token, 8 bytes, and the window in ms.
-- Returns for each 1, or 0: fenced, or the text of what the server has against it. It is
-- no error of Redis: one within an array is read by the client as the end of the array,
-- and the rest of it as the answers of the commands that follow.
-- A replica answers with an error alone, as to a command, and nothing is written: by that
-- the client knows that its connection leads to one that was the master.
local most = 16 * tonumber(ARGV[1])

local function finish(key, token, window)
	local mark = redis.pcall('GET', key)
	if type(mark) == 'table' then
		return mark.err
	end
	if not mark or string.sub(mark, 3, 10) ~= token then
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
	while #done > most do
		local hex = string.gsub(string.sub(done, 1, 16), '.', function(byte) return string.format('%02x', string.byte(byte)) end)
		local set = redis.pcall('SET', 'remora:dedupe:{' .. key .. '}' .. hex, '1', 'PX', window)
		if set.err then
			return set.err
		end
		done = string.sub(done, 17)
	end
	local set = redis.pcall('SET', key, '10' .. string.sub(mark, 3, 42) .. '\0\0\0\0' .. done, 'PX', window)
	return set.err or 1
end

local answers = {}
for i, key in ipairs(KEYS) do
	answers[i] = finish(key, string.sub(ARGV[i + 1], 1, 8), string.sub(ARGV[i + 1], 9))
	if type(answers[i]) == 'string' and string.find(answers[i], 'READONLY', 1, true) then
		return {err = 'READONLY ' .. answers[i]}
	end
end
return answers
