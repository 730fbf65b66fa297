-- KEYS: due, map, bookings. ARGV: hold, first bit of booked, bits of its seats.
if redis.call('ZREM', KEYS[1], ARGV[1]) == 0 then return 0 end
for i = 3, #ARGV do redis.call('SETBIT', KEYS[2], ARGV[2] + ARGV[i], 1) end
redis.call('SADD', KEYS[3], ARGV[1])
return 1
