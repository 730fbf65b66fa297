package wire

import (
	"encoding/binary"
	"errors"
	"fmt"
)

// ErrShort says that a body ends before its last field.
var ErrShort = errors.New("body is too short for its kind")

// A reader takes fields off a body. After the first field that is not there, it
// yields zeroes; finish reports it.
type reader struct {
	b   []byte
	err error
}

func (r *reader) take(n int) []byte {
	if r.err != nil || len(r.b) < n {
		r.err = ErrShort
		return nil
	}
	v := r.b[:n:n]
	r.b = r.b[n:]
	return v
}

func (r *reader) u8() uint8 {
	if v := r.take(1); v != nil {
		return v[0]
	}
	return 0
}

func (r *reader) u16() uint16 {
	if v := r.take(2); v != nil {
		return binary.LittleEndian.Uint16(v)
	}
	return 0
}

func (r *reader) u32() uint32 {
	if v := r.take(4); v != nil {
		return binary.LittleEndian.Uint32(v)
	}
	return 0
}

func (r *reader) u64() uint64 {
	if v := r.take(8); v != nil {
		return binary.LittleEndian.Uint64(v)
	}
	return 0
}

// bool reads 0 or 1. Anything else is refused, as are reserved bytes that are
// not zero: a body has one encoding, and what is refused today can get a
// meaning tomorrow.
func (r *reader) bool() bool {
	v := r.u8()
	if v > 1 && r.err == nil {
		r.err = fmt.Errorf("%d is neither 0 nor 1", v)
	}
	return v == 1
}

// zero skips a reserved byte.
func (r *reader) zero() {
	if v := r.u8(); v != 0 && r.err == nil {
		r.err = fmt.Errorf("reserved byte is %d, not 0", v)
	}
}

func (r *reader) id() (id ID) {
	if v := r.take(len(id)); v != nil {
		id = ID(v)
	}
	return id
}

// hash reads 32 bytes.
func (r *reader) hash() (v [32]byte) {
	if b := r.take(len(v)); b != nil {
		v = [32]byte(b)
	}
	return v
}

// bytes reads a u16 length and that many bytes.
func (r *reader) bytes() []byte { return r.take(int(r.u16())) }

// long reads a u32 length and that many bytes.
func (r *reader) long() []byte {
	n := r.u32()
	if r.err != nil || uint64(n) > uint64(len(r.b)) {
		r.err = ErrShort
		return nil
	}
	return r.take(int(n))
}

// seats reads a u16 count and that many seat ids.
func (r *reader) seats() SeatList { return SeatList(r.take(4 * int(r.u16()))) }

// finish reports a body that was too short, or longer than its fields.
func (r *reader) finish() error {
	if r.err == nil && len(r.b) > 0 {
		return fmt.Errorf("body has %d bytes after its last field", len(r.b))
	}
	return r.err
}

func appendBytes[T ~string | ~[]byte](b []byte, v T) []byte {
	b = binary.LittleEndian.AppendUint16(b, uint16(len(v)))
	return append(b, v...)
}

func appendSeats(b []byte, s SeatList) []byte {
	b = binary.LittleEndian.AppendUint16(b, uint16(s.Len()))
	return append(b, s...)
}

// SeatList is a list of seat ids as it stands in a body: four bytes each.
type SeatList []byte

// MakeSeatList encodes ids.
func MakeSeatList(ids ...SeatID) SeatList { return SeatList(nil).Append(ids...) }

// Append appends ids to the list.
func (s SeatList) Append(ids ...SeatID) SeatList {
	for _, id := range ids {
		s = binary.LittleEndian.AppendUint32(s, uint32(id))
	}
	return s
}

// Len is the number of seats.
func (s SeatList) Len() int { return len(s) / 4 }

// At is the i-th seat.
func (s SeatList) At(i int) SeatID { return SeatID(binary.LittleEndian.Uint32(s[4*i:])) }

// IDs decodes the list.
func (s SeatList) IDs() []SeatID {
	ids := make([]SeatID, s.Len())
	for i := range ids {
		ids[i] = s.At(i)
	}
	return ids
}
