-- Writes a mark of an earlier version, a hash of Redis with fingerprints in hex, as
-- those of this one are. What is no such hash stays.
-- KEYS[1] the mark. Returns 1.
if redis.call('TYPE', KEYS[1]).ok ~= 'hash' then
	return 1
end
local function raw(hex)
	return (string.gsub(hex, '..', function(byte) return string.char(tonumber(byte, 16)) end))
end
local mark = redis.call('HMGET', KEYS[1], 'held', 'token', 'ends', 'attempts', 'effect', 'done')
local time = redis.call('TIME')
local left = redis.call('PTTL', KEYS[1])
if left < 1 then -- none, somebody has taken it away: a day; or less than SET takes
	left = left < 0 and 86400000 or 1
end
local lease = math.max(tonumber(mark[3]) - tonumber(time[1]) * 1000 - math.floor(tonumber(time[2]) / 1000), 0)
redis.call('SET', KEYS[1],
	struct.pack('>c1c1I8c16I8I8I4', '1', mark[1], tonumber(mark[2]), raw(mark[5]), lease, left, tonumber(mark[4])) .. raw(mark[6]),
	'PX', left)
return 1
