package onsale

import (
	"encoding/base64"
	"encoding/binary"
	"fmt"
	"sync"
	"sync/atomic"
)

// The layout of a ticket, docs/protocol.md: 22 bytes that tickets of a room share
// but for the number in their last 8, 8 that they share, and 16 of signature.
const (
	ticketNumberAt = 14
	ticketRestAt   = 22
	ticketMACAt    = 30
	ticketBytes    = 46
)

var ticketText = base64.RawURLEncoding

// A family is what tickets have in common: of one room, kind and signing key.
type family struct {
	front [ticketNumberAt]byte
	rest  [ticketMACAt - ticketRestAt]byte
}

// maxFamilies is how many a user's byte can tell apart: two kinds, and as many
// signing keys as the run sees.
const maxFamilies = 256

// families are those of an event. Safe for all goroutines.
type families struct {
	list atomic.Pointer[[]family]
	mu   sync.Mutex // serialises writers of list
}

// pack takes a ticket apart, so that it takes 21 bytes instead of 62.
func (f *families) pack(token []byte) (number uint32, index uint8, mac [16]byte, err error) {
	var b [ticketBytes]byte
	if n := ticketText.DecodedLen(len(token)); n != ticketBytes {
		return 0, 0, mac, fmt.Errorf("a ticket of %d bytes, want %d", n, ticketBytes)
	}
	if _, err := ticketText.Decode(b[:], token); err != nil {
		return 0, 0, mac, fmt.Errorf("a ticket that cannot be read: %w", err)
	}
	wide := binary.LittleEndian.Uint64(b[ticketNumberAt:])
	if wide > 1<<32-2 {
		return 0, 0, mac, fmt.Errorf("a ticket with the number %d, more than there are users", wide)
	}
	index, err = f.index(family{[ticketNumberAt]byte(b[:]), [ticketMACAt - ticketRestAt]byte(b[ticketRestAt:])})
	return uint32(wide), index, [16]byte(b[ticketMACAt:]), err
}

func (f *families) find(x family) (uint8, bool) {
	if list := f.list.Load(); list != nil {
		for i := range *list {
			if (*list)[i] == x {
				return uint8(i), true
			}
		}
	}
	return 0, false
}

func (f *families) index(x family) (uint8, error) {
	if i, ok := f.find(x); ok {
		return i, nil
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	if i, ok := f.find(x); ok {
		return i, nil
	}
	var list []family
	if old := f.list.Load(); old != nil {
		list = append(list, *old...)
	}
	if len(list) == maxFamilies {
		return 0, fmt.Errorf("tickets of more than %d kinds, rooms and signing keys", maxFamilies)
	}
	list = append(list, x)
	f.list.Store(&list)
	return uint8(len(list) - 1), nil
}

// unpack appends a ticket's text to b.
func (f *families) unpack(b []byte, number uint32, index uint8, mac *[16]byte) []byte {
	x := &(*f.list.Load())[index]
	var raw [ticketBytes]byte
	copy(raw[:], x.front[:])
	binary.LittleEndian.PutUint64(raw[ticketNumberAt:], uint64(number))
	copy(raw[ticketRestAt:], x.rest[:])
	copy(raw[ticketMACAt:], mac[:])
	return ticketText.AppendEncode(b, raw[:])
}

// numbers finds the user of a ticket's number. Safe for all goroutines.
type numbers struct {
	chunks []atomic.Pointer[[numbersChunk]atomic.Uint32]
}

const numbersChunk = 1 << 16

func newNumbers(users int) *numbers {
	return &numbers{chunks: make([]atomic.Pointer[[numbersChunk]atomic.Uint32], users/numbersChunk+1)}
}

// set notes the user of a number; false if it has another, or there cannot be so
// many.
func (n *numbers) set(number, user uint32) bool {
	i := int(number / numbersChunk)
	if i >= len(n.chunks) {
		return false
	}
	c := n.chunks[i].Load()
	if c == nil {
		c = new([numbersChunk]atomic.Uint32)
		if !n.chunks[i].CompareAndSwap(nil, c) {
			c = n.chunks[i].Load()
		}
	}
	slot := &c[number%numbersChunk]
	return slot.CompareAndSwap(0, user+1) || slot.Load() == user+1
}

// user is whose number that is; false if nobody's yet.
func (n *numbers) user(number uint32) (uint32, bool) {
	i := int(number / numbersChunk)
	if i >= len(n.chunks) {
		return 0, false
	}
	c := n.chunks[i].Load()
	if c == nil {
		return 0, false
	}
	user := c[number%numbersChunk].Load()
	return user - 1, user != 0
}

// all yields the users in the order of their numbers.
func (n *numbers) all(yield func(user uint32) bool) {
	for i := range n.chunks {
		c := n.chunks[i].Load()
		if c == nil {
			continue
		}
		for j := range c {
			if user := c[j].Load(); user != 0 && !yield(user-1) {
				return
			}
		}
	}
}
