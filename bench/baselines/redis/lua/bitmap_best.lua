-- KEYS: map, due, fits. ARGV: number, ttl in ms, size of the group. fits has a
-- bit for each row that may have such a group; a row that turns out to have none
-- loses it, so nobody looks there again until seats come back. Answers the place
-- of the first seat in the map, or -1.
local n = tonumber(ARGV[3])
while true do
  local row = redis.call('BITPOS', KEYS[3], 1)
  if row < 0 then return -1 end
  local hi, lo = struct.unpack('>I4I4', redis.call('GETRANGE', KEYS[1], row * 8, row * 8 + 7))
  hi, lo = bit.bnot(hi), bit.bnot(lo)
  local runHi, runLo = hi, lo -- seats that begin a run of free ones
  for _ = 2, n do
    hi = bit.bor(bit.lshift(hi, 1), bit.rshift(lo, 31))
    lo = bit.lshift(lo, 1)
    runHi, runLo = bit.band(runHi, hi), bit.band(runLo, lo)
  end
  if runHi ~= 0 or runLo ~= 0 then
    local at = 0
    if runHi == 0 then runHi, at = runLo, 32 end
    while runHi > 0 do -- the first bit is the sign
      runHi = bit.lshift(runHi, 1)
      at = at + 1
    end
    local first = row * 64 + at
    redis.call('BITFIELD', KEYS[1], 'SET', 'u' .. n, first, 2 ^ n - 1)
    local hold = ARGV[1]
    for i = 0, n - 1 do hold = hold .. ' ' .. first + i end
    local t = redis.call('TIME')
    redis.call('ZADD', KEYS[2], t[1] * 1000 + math.floor(t[2] / 1000) + ARGV[2], hold)
    return first
  end
  redis.call('SETBIT', KEYS[3], row, 0)
end
