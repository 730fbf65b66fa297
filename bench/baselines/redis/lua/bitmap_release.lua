-- KEYS: due, map, fits. ARGV: hold, bits of its seats. The rows may fit a group
-- again.
if redis.call('ZREM', KEYS[1], ARGV[1]) == 0 then return 0 end
local row = -1
for i = 2, #ARGV do
  redis.call('SETBIT', KEYS[2], ARGV[i], 0)
  local r = math.floor(ARGV[i] / 64)
  if r ~= row then
    redis.call('SETBIT', KEYS[3], r, 1)
    row = r
  end
end
return 1
