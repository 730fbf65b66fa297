package wire

import (
	"encoding/binary"
	"errors"
	"fmt"
	"strconv"
)

// An encoded manifest is canonical: a manifest has one encoding, and a decoder
// refuses every other, so that a digest of the bytes names the content.
//
//	u8      format, 1
//	33 B    rules, as in SetRules
//	text    key
//	text    name
//	list    categories: text
//	list    sections: text name, list of rows
//	list    areas: text name, u8 category, number capacity
//
// A number is an unsigned LEB128 varint of the least length, a text a number of
// bytes and the bytes, a list a number of items and the items. A row is
//
//	text    name
//	number  seats, n
//	u8      traits
//	number  focal point, if rowFocal
//	u8      category of all, or n of them if rowCategories
//	u8 × n  access, if rowAccess
//	text×n  labels, if rowLabels; else they are 1, 2 … n
//	text×n  GUIDs, if rowGUIDs
//
// A trait is set if and only if the row differs from the plain one: focal point
// in the middle, one category, no access flags, labels 1 … n, no GUIDs. A plain
// row takes some five bytes.
const manifestFormat = 1

const (
	rowFocal      = 1 << 0
	rowCategories = 1 << 1
	rowAccess     = 1 << 2
	rowLabels     = 1 << 3
	rowGUIDs      = 1 << 4
)

const rulesSize = 33

// traits says how the row differs from a plain one.
func (r *Row) traits() byte {
	var t byte
	if int(r.Focal) != len(r.Seats)-1 {
		t |= rowFocal
	}
	var digits [8]byte
	for i := range r.Seats {
		s := &r.Seats[i]
		if s.Category != r.Seats[0].Category {
			t |= rowCategories
		}
		if s.Access != 0 {
			t |= rowAccess
		}
		if t&rowLabels == 0 && s.Label != string(strconv.AppendInt(digits[:0], int64(i+1), 10)) {
			t |= rowLabels
		}
		if s.GUID != "" {
			t |= rowGUIDs
		}
	}
	return t
}

// Encode gives the manifest's bytes. It must be valid.
func (m *Manifest) Encode() []byte {
	b := []byte{manifestFormat}
	b = m.Rules.append(b)
	b = appendText(b, m.Key)
	b = appendText(b, m.Name)
	b = binary.AppendUvarint(b, uint64(len(m.Categories)))
	for _, name := range m.Categories {
		b = appendText(b, name)
	}
	b = binary.AppendUvarint(b, uint64(len(m.Sections)))
	for i := range m.Sections {
		s := &m.Sections[i]
		b = appendText(b, s.Name)
		b = binary.AppendUvarint(b, uint64(len(s.Rows)))
		for j := range s.Rows {
			b = s.Rows[j].append(b)
		}
	}
	b = binary.AppendUvarint(b, uint64(len(m.Areas)))
	for i := range m.Areas {
		a := &m.Areas[i]
		b = appendText(b, a.Name)
		b = append(b, byte(a.Category))
		b = binary.AppendUvarint(b, uint64(a.Capacity))
	}
	return b
}

func (r *Row) append(b []byte) []byte {
	traits := r.traits()
	b = appendText(b, r.Name)
	b = binary.AppendUvarint(b, uint64(len(r.Seats)))
	b = append(b, traits)
	if traits&rowFocal != 0 {
		b = binary.AppendUvarint(b, uint64(r.Focal))
	}
	for i := range r.Seats {
		if i == 0 || traits&rowCategories != 0 {
			b = append(b, byte(r.Seats[i].Category))
		}
	}
	if traits&rowAccess != 0 {
		for i := range r.Seats {
			b = append(b, byte(r.Seats[i].Access))
		}
	}
	if traits&rowLabels != 0 {
		for i := range r.Seats {
			b = appendText(b, r.Seats[i].Label)
		}
	}
	if traits&rowGUIDs != 0 {
		for i := range r.Seats {
			b = appendText(b, r.Seats[i].GUID)
		}
	}
	return b
}

func appendText(b []byte, s string) []byte {
	return append(binary.AppendUvarint(b, uint64(len(s))), s...)
}

var (
	errManifestShort  = errors.New("encoded manifest ends too early")
	errManifestVarint = errors.New("encoded manifest: number is too large or longer than it need be")
)

// A manifestReader takes fields off an encoded manifest. After the first fault
// it yields zeroes. Its texts share one copy of the input: a manifest with a
// label and a GUID for each of 200,000 seats would otherwise be 400,000 small
// allocations.
type manifestReader struct {
	text   string
	at     int
	err    error
	places int
	spare  []Seat   // what is left of a slab
	digits []string // "1", "2" …
}

func (r *manifestReader) fail(err error) {
	if r.err == nil {
		r.err = err
	}
	r.at = len(r.text)
}

func (r *manifestReader) left() int { return len(r.text) - r.at }

func (r *manifestReader) u8() byte {
	if r.left() < 1 {
		r.fail(errManifestShort)
		return 0
	}
	r.at++
	return r.text[r.at-1]
}

func (r *manifestReader) number() int {
	var v uint64
	for shift := 0; shift < 35; shift += 7 {
		c := r.u8()
		v |= uint64(c&0x7f) << shift
		if c < 0x80 {
			if c == 0 && shift > 0 || v > 1<<32-1 {
				break
			}
			return int(v)
		}
	}
	r.fail(errManifestVarint)
	return 0
}

// count reads the length of a list whose items have at least least bytes each.
func (r *manifestReader) count(least int) int {
	n := r.number()
	if n > r.left()/least {
		r.fail(errManifestShort)
		return 0
	}
	return n
}

func (r *manifestReader) string() string {
	n := r.count(1)
	r.at += n
	return r.text[r.at-n : r.at]
}

// seats gives a row's seats, out of slabs because most rows are short.
func (r *manifestReader) seats(n int) []Seat {
	if n > len(r.spare) {
		r.spare = make([]Seat, max(n, min(1024, MaxSeats-r.places+n)))
	}
	s := r.spare[:n:n]
	r.spare = r.spare[n:]
	return s
}

// labels gives "1" … at least "n".
func (r *manifestReader) labels(n int) []string {
	for i := len(r.digits); i < n; i++ {
		r.digits = append(r.digits, strconv.Itoa(i+1))
	}
	return r.digits
}

// DecodeManifest reads what Encode writes and validates it. It keeps no
// reference to b. Cost: O(len(b) + places); see BenchmarkDecodeManifest.
func DecodeManifest(b []byte) (*Manifest, error) {
	if len(b) < 1+rulesSize {
		return nil, errManifestShort
	}
	if b[0] != manifestFormat {
		return nil, fmt.Errorf("encoded manifest has format %d; this version knows %d", b[0], manifestFormat)
	}
	m := new(Manifest)
	rules := reader{b: b[1 : 1+rulesSize]}
	m.Rules.read(&rules)
	if rules.err != nil {
		return nil, fmt.Errorf("encoded manifest: rules: %w", rules.err)
	}
	r := manifestReader{text: string(b[1+rulesSize:])}
	m.read(&r)
	if r.err == nil && r.left() > 0 {
		return nil, fmt.Errorf("encoded manifest has %d bytes after its end", r.left())
	}
	if r.err != nil {
		return nil, r.err
	}
	return m, m.Validate()
}

func (m *Manifest) read(r *manifestReader) {
	const leastText, leastRow, leastArea = 1, 4, 3
	m.Key = r.string()
	m.Name = r.string()
	m.Categories = makeList[string](r.count(leastText))
	for i := range m.Categories {
		m.Categories[i] = r.string()
	}
	m.Sections = makeList[Section](r.count(2 * leastText))
	for i := range m.Sections {
		s := &m.Sections[i]
		s.Name = r.string()
		s.Rows = makeList[Row](r.count(leastRow))
		for j := range s.Rows {
			if s.Rows[j].read(r); r.err != nil {
				r.err = fmt.Errorf("section %q row %q: %w", s.Name, s.Rows[j].Name, r.err)
				return
			}
		}
	}
	m.Areas = makeList[Area](r.count(leastArea))
	for i := range m.Areas {
		m.Areas[i] = Area{Name: r.string(), Category: uint16(r.u8()), Capacity: uint32(r.number())}
	}
}

// makeList gives nil for none, so that a decoded manifest equals the one that
// was encoded.
func makeList[T any](n int) []T {
	if n == 0 {
		return nil
	}
	return make([]T, n)
}

func (w *Row) read(r *manifestReader) {
	w.Name = r.string()
	n := r.number()
	r.places += n
	switch {
	case n == 0:
		r.fail(errRowEmpty)
		return
	case n > MaxRowSeats:
		r.fail(fmt.Errorf("%d seats; a row has at most %d", n, MaxRowSeats))
		return
	case r.places > MaxSeats:
		r.fail(fmt.Errorf("with this row the event has %d places; it may have at most %d", r.places, MaxSeats))
		return
	}
	traits := r.u8()
	w.Focal = uint16(n - 1)
	if traits&rowFocal != 0 {
		w.Focal = uint16(min(r.number(), 0xffff))
	}
	w.Seats = r.seats(n)
	category := r.u8()
	for i := range w.Seats {
		if i > 0 && traits&rowCategories != 0 {
			category = r.u8()
		}
		w.Seats[i].Category = uint16(category)
	}
	if traits&rowAccess != 0 {
		for i := range w.Seats {
			w.Seats[i].Access = Access(r.u8())
		}
	}
	if traits&rowLabels != 0 {
		for i := range w.Seats {
			w.Seats[i].Label = r.string()
		}
	} else {
		for i, label := range r.labels(n)[:n] {
			w.Seats[i].Label = label
		}
	}
	if traits&rowGUIDs != 0 {
		for i := range w.Seats {
			w.Seats[i].GUID = r.string()
		}
	}
	if want := w.traits(); r.err == nil && traits != want {
		r.fail(fmt.Errorf("not in its only valid form: traits %#x, want %#x", traits, want))
	}
}
