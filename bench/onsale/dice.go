package onsale

import (
	"math"
	"time"
)

// dice are all that is random, without a state: what a user decides follows from
// the seed, the user, what is decided and how often he has decided it, however
// the run goes.
type dice uint64

// A matter is something that users decide.
type matter uint16

const (
	whichEvent matter = iota + 1
	whenArrives
	howCarried
	whetherLooksFirst
	whenJoins
	whenAsks
	whenPolls
	howPatient
	whetherGoodbye
	whetherComes
	whenReacts
	howMany
	howSeats
	whichRow
	whichSeat
	whenThinks
	whenAgain
	howEnds
	whenPays
	whetherReturns
	whenLooks
	idHigh
	idLow
)

// mix is the finaliser of splitmix64 (Steele, Lea and Flood, "Fast splittable
// pseudorandom number generators", 2014).
func mix(x uint64) uint64 {
	x += 0x9e3779b97f4a7c15
	x = (x ^ x>>30) * 0xbf58476d1ce4e5b9
	x = (x ^ x>>27) * 0x94d049bb133111eb
	return x ^ x>>31
}

// roll gives 64 even bits for the nth time that user decides m.
func (d dice) roll(user uint32, m matter, nth uint32) uint64 {
	return mix(mix(uint64(d)^uint64(m)<<48) ^ uint64(user)<<32 ^ uint64(nth))
}

// unit is even in [0,1).
func (d dice) unit(user uint32, m matter, nth uint32) float64 {
	return float64(d.roll(user, m, nth)>>11) / (1 << 53)
}

// longestWait is how many times the mean a wait takes at most.
const longestWait = 6

// wait is exponential with this mean, cut off at longestWait times it.
func (d dice) wait(user uint32, m matter, nth uint32, mean time.Duration) time.Duration {
	u := d.unit(user, m, nth)
	return time.Duration(float64(mean) * min(-math.Log1p(-u), longestWait))
}
