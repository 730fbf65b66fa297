package wire

import (
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"fmt"
)

// Millis is shard time in milliseconds. It is stamped by the shard's leader,
// never runs backwards and stands still while the shard has no leader; see
// docs/architecture.md. Zero means "none".
type Millis int64

// Never is a time that does not come.
const Never Millis = 1<<63 - 1

// EventID numbers an event. The directory issues it and never issues it again.
type EventID uint64

// SeatID is a place of an event: word·64 + bit. Rows and areas start on a word.
type SeatID uint32

// Version counts the changes of an event: an epoch in the high 16 bits, raised
// when the event is moved or restored, and a counter below.
type Version uint64

// Fence is the version at which a hold was granted. Whoever quotes it proves
// that he speaks of that grant and not of a later one.
type Fence = Version

const versionCounterBits = 48

// MakeVersion joins an epoch and a counter below 2^48.
func MakeVersion(epoch uint16, counter uint64) Version {
	return Version(uint64(epoch)<<versionCounterBits | counter&(1<<versionCounterBits-1))
}

// Epoch is the life of the event that the version belongs to.
func (v Version) Epoch() uint16 { return uint16(v >> versionCounterBits) }

// Counter is the number of changes within the epoch.
func (v Version) Counter() uint64 { return uint64(v) & (1<<versionCounterBits - 1) }

// BuyerID is a buyer as the shard counts him: the hash of whatever the frontend
// calls him. Zero is nobody, whose seats are not counted.
type BuyerID uint64

// Buyer hashes a frontend's name for a buyer: the first eight bytes of its
// SHA-256, little-endian. The empty name is nobody.
func Buyer(name string) BuyerID { return BuyerID(hash64(name)) }

// ChannelKey is the hash of the secret that opens a sales channel; zero is none.
type ChannelKey uint64

// Channel hashes a channel's secret the way Buyer hashes a name.
func Channel(secret string) ChannelKey { return ChannelKey(hash64(secret)) }

// RoomID names an event's waiting room for its whole life, through moves and
// backups. A room that is made after another was switched off has another id, so
// that no ticket of the first opens the second.
type RoomID uint64

// NewRoomID is the id of the room that a request makes: the first eight bytes of
// the SHA-256 of the request's id, little-endian; 1 if they are zero.
func NewRoomID(request ID) RoomID { return RoomID(hash64(string(request[:]))) }

// PassID names a pass. Whoever knows it can use the pass. Zero is none.
type PassID uint64

// Pass is the id of the pass that a ticket is redeemed for: the first eight bytes
// of the SHA-256 of the ticket's text, little-endian. So redeeming a ticket twice
// is the same request.
func Pass(ticket string) PassID { return PassID(hash64(ticket)) }

// VisitorSize is the length of a visitor's fingerprint, in bytes.
const VisitorSize = 12

// Visitor is the fingerprint of whatever the frontend calls a visitor: the first
// VisitorSize bytes of its SHA-256.
func Visitor(key string) [VisitorSize]byte {
	sum := sha256.Sum256([]byte(key))
	return [VisitorSize]byte(sum[:])
}

func hash64(s string) uint64 {
	if s == "" {
		return 0
	}
	sum := sha256.Sum256([]byte(s))
	if v := binary.LittleEndian.Uint64(sum[:8]); v != 0 {
		return v
	}
	return 1
}

// ID names a request, and the hold that the request makes. It is a UUID of one
// of two versions of RFC 9562:
//
//	7  48 bits of shard time, big-endian, then 74 random bits (NewID)
//	8  a hash of a key that somebody else chose, without a time (KeyID)
//
// A shard remembers the ids it has decided. When it forgets timed ids it raises
// a floor below which unknown ids are refused, so that no late retry is executed
// twice.
type ID [16]byte

const (
	idTimed  = 7
	idHashed = 8
)

// NewID makes a timed id out of shard time and random bytes.
func NewID(now Millis, random [10]byte) ID {
	var id ID
	binary.BigEndian.PutUint64(id[:8], uint64(now)<<16)
	copy(id[6:], random[:])
	id.setVersion(idTimed)
	return id
}

// KeyID makes an id without time from a key such as an HTTP Idempotency-Key.
func KeyID(key string) ID {
	sum := sha256.Sum256([]byte(key))
	id := ID(sum[:16])
	id.setVersion(idHashed)
	return id
}

func (id *ID) setVersion(v byte) {
	id[6] = id[6]&0x0f | v<<4
	id[8] = id[8]&0x3f | 0x80
}

// Valid reports whether the id is of one of the two versions.
func (id ID) Valid() bool {
	v := id[6] >> 4
	return (v == idTimed || v == idHashed) && id[8]>>6 == 2
}

// Time is the shard time a timed id began with.
func (id ID) Time() (t Millis, timed bool) {
	if id[6]>>4 != idTimed {
		return 0, false
	}
	return Millis(binary.BigEndian.Uint64(id[:8]) >> 16), true
}

// Hash mixes the id into 64 bits. It is part of no format.
func (id ID) Hash() uint64 {
	a := binary.LittleEndian.Uint64(id[:8])
	b := binary.LittleEndian.Uint64(id[8:])
	h := (a ^ b>>29 ^ b<<35) * 0x9e3779b97f4a7c15
	h ^= h >> 32
	h = (h + b) * 0xd6e8feb86659fd93
	return h ^ h>>29
}

// String gives the id in the usual form of a UUID.
func (id ID) String() string {
	var b [36]byte
	hex.Encode(b[:8], id[:4])
	hex.Encode(b[9:13], id[4:6])
	hex.Encode(b[14:18], id[6:8])
	hex.Encode(b[19:23], id[8:10])
	hex.Encode(b[24:], id[10:])
	b[8], b[13], b[18], b[23] = '-', '-', '-', '-'
	return string(b[:])
}

// ParseID reads what String writes.
func ParseID(s string) (ID, error) {
	var id ID
	if len(s) != 36 || s[8] != '-' || s[13] != '-' || s[18] != '-' || s[23] != '-' {
		return id, fmt.Errorf("id %q is not a UUID: want 36 characters such as 018f2c4e-7d1a-7b3c-8e5f-0123456789ab", s)
	}
	src := s[:8] + s[9:13] + s[14:18] + s[19:23] + s[24:]
	if _, err := hex.Decode(id[:], []byte(src)); err != nil {
		return id, fmt.Errorf("id %q is not a UUID: %w", s, err)
	}
	if !id.Valid() {
		return id, fmt.Errorf("id %q has the wrong UUID version: want 7 (timed) or 8 (hashed key)", s)
	}
	return id, nil
}
