package wire

import (
	"crypto/sha256"
	"encoding/binary"
	"math/bits"
)

const (
	drawRounds  = 12
	leastHalf   = 4 // bits
	drawLabel   = "usher draw v1"
	commitLabel = "usher draw commitment v1"
)

// Commitment is what a waiting room publishes before its draw: the SHA-256 of
// "usher draw commitment v1", the seed, and the text that names the source of the
// outside entropy. Whoever has it can check, once the seed is known, that neither
// was chosen afterwards.
func Commitment(seed [32]byte, source []byte) [32]byte {
	b := make([]byte, 0, len(commitLabel)+len(seed)+MaxSource)
	b = append(b, commitLabel...)
	b = append(b, seed[:]...)
	return sha256.Sum256(append(b, source...))
}

// A Draw turns entry numbers into queue numbers: a permutation of [0, N) that
// depends on nothing but what NewDraw is given, so that everybody can compute it
// again. It is a balanced Feistel network over the smallest even number of bits
// that N fits, with SHA-256 in its rounds; numbers beyond N go through it again
// until they are below (cycle-walking; Black and Rogaway, "Ciphers with Arbitrary
// Finite Domains", 2002). It is immutable.
type Draw struct {
	key  [32]byte
	n    uint64
	half int // bits of each half
}

// NewDraw is the draw of a room with n entries, at most MaxNumbers. Its key is the
// SHA-256 of "usher draw v1", the seed, the SHA-256 of the outside entropy (of
// nothing, if there is none), and the room's id and n as u64, little-endian.
func NewDraw(seed [32]byte, entropy []byte, room RoomID, n uint64) Draw {
	outside := sha256.Sum256(entropy)
	b := make([]byte, 0, len(drawLabel)+len(seed)+len(outside)+16)
	b = append(b, drawLabel...)
	b = append(b, seed[:]...)
	b = append(b, outside[:]...)
	b = binary.LittleEndian.AppendUint64(b, uint64(room))
	b = binary.LittleEndian.AppendUint64(b, n)
	d := Draw{key: sha256.Sum256(b), n: n, half: leastHalf}
	if n > 1 {
		d.half = max(leastHalf, (bits.Len64(n-1)+1)/2)
	}
	return d
}

// Entries is the N that the draw is of.
func (d *Draw) Entries() uint64 { return d.n }

// Number is the queue number of an entry number below N. Cost: on average at most
// four passes of twelve SHA-256 each if N is above 64, and some more below.
func (d *Draw) Number(entry uint64) uint64 {
	if entry >= d.n {
		panic("wire: a draw is asked for a number that did not take part")
	}
	for x := entry; ; {
		if x = d.forth(x); x < d.n {
			return x
		}
	}
}

// Entry is the entry number of a queue number below N: the inverse of Number.
func (d *Draw) Entry(number uint64) uint64 {
	if number >= d.n {
		panic("wire: a draw is asked for a number that did not take part")
	}
	for x := number; ; {
		if x = d.back(x); x < d.n {
			return x
		}
	}
}

func (d *Draw) forth(x uint64) uint64 {
	left, right := uint32(x>>d.half), uint32(x&(1<<d.half-1))
	for r := range drawRounds {
		left, right = right, left^d.round(r, right)
	}
	return uint64(left)<<d.half | uint64(right)
}

func (d *Draw) back(x uint64) uint64 {
	left, right := uint32(x>>d.half), uint32(x&(1<<d.half-1))
	for r := drawRounds - 1; r >= 0; r-- {
		left, right = right^d.round(r, left), left
	}
	return uint64(left)<<d.half | uint64(right)
}

// round is the low bits of SHA-256(key, r as u8, x as u32, little-endian).
func (d *Draw) round(r int, x uint32) uint32 {
	var b [len(d.key) + 5]byte
	copy(b[:], d.key[:])
	b[len(d.key)] = byte(r)
	binary.LittleEndian.PutUint32(b[len(d.key)+1:], x)
	sum := sha256.Sum256(b[:])
	return binary.LittleEndian.Uint32(sum[:]) & (1<<d.half - 1)
}
