-- KEYS: the seats. ARGV: number.
for _, n in ipairs(redis.call('MGET', unpack(KEYS))) do
  if n ~= ARGV[1] then return 0 end
end
redis.call('DEL', unpack(KEYS))
return 1
