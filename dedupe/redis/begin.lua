-- Takes the key, where nobody holds it.
-- KEYS[1] the mark. ARGV: effect, claim, lease ms, window ms, how many effects are
-- in one mark.
-- Returns verdict, conflict, attempts, ms until the lease ends, token.
local IN_PROGRESS, BEGUN, REPEAT = 0, 1, 2
local effect, claim, lease, window, most = ARGV[1], ARGV[2], tonumber(ARGV[3]), ARGV[4], tonumber(ARGV[5])

local time = redis.call('TIME')
local micros = tonumber(time[1]) * 1000000 + tonumber(time[2])
local now = math.floor(micros / 1000)

local mark = redis.call('HMGET', KEYS[1], 'held', 'claim', 'token', 'ends', 'attempts', 'effect', 'done')
local held, token, ends = mark[1] == '1', mark[3] or '0', tonumber(mark[4] or '0')
local attempts, done = tonumber(mark[5] or '0'), mark[7] or ''

for i = 1, #done, 32 do
	if string.sub(done, i, i + 31) == effect then
		return {REPEAT, 0, attempts, 0, '0'}
	end
end
if #done >= 32 * most then -- others have marks of their own: see done.lua
	local own = 'remora:dedupe:{' .. KEYS[1] .. '}' .. effect
	if redis.call('HGET', own, 'done') == effect then
		return {REPEAT, 0, attempts, 0, '0'}
	end
end
local conflict = done ~= '' and 1 or 0
if held and now < ends then
	if mark[2] == claim then -- sent again: the answer was lost
		return {BEGUN, conflict, attempts, ends - now, token}
	end
	return {IN_PROGRESS, conflict, attempts, ends - now, '0'}
end

if mark[6] ~= effect then
	attempts = 0
end
attempts = attempts + 1
-- A counter that begins at the time: one begun anew is above what was lost.
token = string.format('%.0f', math.max(tonumber(token) + 1, micros))
redis.call('HSET', KEYS[1], 'held', '1', 'claim', claim, 'token', token,
	'ends', string.format('%.0f', now + lease), 'attempts', attempts, 'effect', effect, 'done', done)
redis.call('PEXPIRE', KEYS[1], window)
return {BEGUN, conflict, attempts, lease, token}
