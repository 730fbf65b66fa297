-- ARGV: number, ttl in ms, size of the group, rows, prefix of the seats' keys.
-- Keys end by themselves, so nothing can say which rows are worth a look: row after
-- row is read. Answers the first seat, or -1.
local n, prefix = tonumber(ARGV[3]), ARGV[5]
for row = 0, ARGV[4] - 1 do
  local keys = {}
  for i = 0, 49 do keys[i + 1] = prefix .. row * 50 + i end
  local run = 0
  for i, v in ipairs(redis.call('MGET', unpack(keys))) do
    if v then run = 0 else run = run + 1 end
    if run == n then
      for j = i - n + 1, i do redis.call('SET', keys[j], ARGV[1], 'PX', ARGV[2]) end
      return row * 50 + i - n
    end
  end
end
return -1
