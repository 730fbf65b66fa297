-- Frees what is due. KEYS: due, map, fits. A bounded number at a time, since
-- nobody else is served meanwhile.
local t = redis.call('TIME')
local now = t[1] * 1000 + math.floor(t[2] / 1000)
local due = redis.call('ZRANGEBYSCORE', KEYS[1], '-inf', now, 'LIMIT', 0, 500)
for _, hold in ipairs(due) do
  redis.call('ZREM', KEYS[1], hold)
  for seat in string.gmatch(hold, ' (%d+)') do
    redis.call('SETBIT', KEYS[2], seat, 0)
    redis.call('SETBIT', KEYS[3], math.floor(seat / 64), 1)
  end
end
return #due
