-- All seats or none. KEYS: the seats. ARGV: number, ttl in ms. Redis itself ends
-- the hold.
if redis.call('EXISTS', unpack(KEYS)) > 0 then return 0 end
for i = 1, #KEYS do redis.call('SET', KEYS[i], ARGV[1], 'PX', ARGV[2]) end
return 1
