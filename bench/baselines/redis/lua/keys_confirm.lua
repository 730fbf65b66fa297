-- KEYS: the seats. ARGV: number, and what stands there once they are booked.
for _, n in ipairs(redis.call('MGET', unpack(KEYS))) do
  if n ~= ARGV[1] then return 0 end
end
for i = 1, #KEYS do redis.call('SET', KEYS[i], ARGV[2]) end
return 1
