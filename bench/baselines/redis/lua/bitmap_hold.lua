-- All seats or none. KEYS: map, due. ARGV: hold, ttl in ms, bits of its seats.
-- Looking first costs a call a seat, and whoever loses writes nothing.
for i = 3, #ARGV do
  if redis.call('GETBIT', KEYS[1], ARGV[i]) == 1 then return 0 end
end
for i = 3, #ARGV do redis.call('SETBIT', KEYS[1], ARGV[i], 1) end
local t = redis.call('TIME')
redis.call('ZADD', KEYS[2], t[1] * 1000 + math.floor(t[2] / 1000) + ARGV[2], ARGV[1])
return 1
