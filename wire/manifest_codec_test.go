package wire

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"reflect"
	"strconv"
	"strings"
	"testing"
)

// TestDamagedManifests cuts an encoded manifest everywhere, and changes each of
// its bytes: what is still accepted must be the encoding of what was decoded.
func TestDamagedManifests(t *testing.T) {
	whole := theatre().Encode()
	for n := range whole {
		if _, err := DecodeManifest(whole[:n]); err == nil {
			t.Errorf("cut to %d of %d bytes it is accepted", n, len(whole))
		}
	}
	if _, err := DecodeManifest(append(bytes.Clone(whole), 0)); err == nil || !strings.Contains(err.Error(), "1 bytes after its end") {
		t.Errorf("with a byte after its end: %v", err)
	}
	accepted := 0
	for i := range whole {
		for _, flip := range []byte{1, 2, 0x80, 0xff} {
			b := bytes.Clone(whole)
			b[i] ^= flip
			m, err := DecodeManifest(b)
			if err != nil {
				continue
			}
			accepted++
			if !bytes.Equal(m.Encode(), b) {
				t.Errorf("byte %d flipped by %#x: accepted, and encoded in another way", i, flip)
			}
		}
	}
	if accepted == 0 {
		t.Error("no change was accepted, not even of a letter in a name")
	}
}

// TestManifestHasOneEncoding spells the small manifest in other ways.
func TestManifestHasOneEncoding(t *testing.T) {
	good := smallManifest().Encode()
	at := bytes.Index(good, []byte("\x011\x0a\x00\x00")) // row "1": ten seats, no traits, category 0
	if at < 0 {
		t.Fatalf("no plain row in %x", good)
	}
	spell := func(row string) []byte {
		return append(append(bytes.Clone(good[:at]), row...), good[at+5:]...)
	}
	labels := ""
	for i := 1; i <= 10; i++ {
		label := strconv.Itoa(i)
		labels += string(rune(len(label))) + label
	}
	if _, err := DecodeManifest(spell("\x011\x0a\x00\x00")); err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct{ row, want string }{
		"long number":          {"\x011\x8a\x00\x00\x00", "longer than it need be"},
		"huge number":          {"\x011\xff\xff\xff\xff\x7f\x00\x00", "too large"},
		"endless number":       {"\x011\xff\xff\xff\xff\xff\xff\xff\xff\x00", "too large"},
		"focal in the middle":  {"\x011\x0a\x01\x09\x00", `section "A" row "1": not in its only valid form`},
		"equal categories":     {"\x011\x0a\x02" + strings.Repeat("\x00", 10), "not in its only valid form"},
		"no access":            {"\x011\x0a\x04\x00" + strings.Repeat("\x00", 10), "not in its only valid form"},
		"plain labels":         {"\x011\x0a\x08\x00" + labels, "not in its only valid form"},
		"no guids":             {"\x011\x0a\x10\x00" + strings.Repeat("\x00", 10), "not in its only valid form"},
		"unknown trait":        {"\x011\x0a\x20\x00", "not in its only valid form"},
		"no seats":             {"\x011\x00\x00\x00", `section "A" row "1": a row needs at least one seat`},
		"too many seats":       {"\x011\x81\x20\x00\x00", `section "A" row "1": 4097 seats; a row has at most 4096`},
		"focal past the end":   {"\x011\x0a\x01\x13\x00", "focal point 10.5 is not in the row"},
		"focal beyond 16 bits": {"\x011\x0a\x01\x89\x80\x04\x00", "not in"},
		"unknown category":     {"\x011\x0a\x00\x02", "category number 2 is unknown"},
	} {
		if _, err := DecodeManifest(spell(c.row)); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v, want %s", name, err, c.want)
		}
	}
	good[0] = 2
	if _, err := DecodeManifest(good); err == nil || !strings.Contains(err.Error(), "format 2; this version knows 1") {
		t.Errorf("format 2: %v", err)
	}
}

// TestTooManyPlacesCostNothing decodes kilobytes that announce millions of seats.
func TestTooManyPlacesCostNothing(t *testing.T) {
	m := hall(1)
	m.Sections[0].Rows = nil
	for i := range 49 {
		m.Sections[0].Rows = append(m.Sections[0].Rows, row(strconv.Itoa(i), MaxRowSeats, 0))
	}
	bounded(t, 1<<20+200*MaxSeats, func() {
		_, err := DecodeManifest(m.Encode())
		want := `section "S1" row "48": with this row the event has 200704 places; it may have at most 200000`
		if err == nil || err.Error() != want {
			t.Errorf("%v, want %s", err, want)
		}
	})
}

// TestRandomManifests compares with naive twins: labels are unique if a set of
// all of them is as large as the event, GUIDs likewise; what is valid survives
// bytes and every label leads back to its seat.
func TestRandomManifests(t *testing.T) {
	seed := rand.Uint64()
	valid, clashes := 0, 0
	for run := range uint64(2000) {
		r := rand.New(rand.NewPCG(seed, run))
		m := randomManifest(r)
		clash := twinFindsClash(m)
		err := m.Validate()
		if (err != nil) != (clash != "") {
			t.Fatalf("seed %d run %d: Validate says %v, the twin %q", seed, run, err, clash)
		}
		if err != nil {
			clashes++
			continue
		}
		valid++
		back, err := DecodeManifest(m.Encode())
		if err != nil || !reflect.DeepEqual(back, m) {
			t.Fatalf("seed %d run %d: %v, or changed by encoding", seed, run, err)
		}
		checkPlacesOf(t, m)
	}
	if valid < 100 || clashes < 100 {
		t.Errorf("%d manifests were valid, %d had a clash: one side is not tested", valid, clashes)
	}
}

// randomManifest is small and takes its names from a few that are easily
// confused. Its sections and areas have different names.
func randomManifest(r *rand.Rand) *Manifest {
	names := []string{"A", "A-1", "A-1-1", "1", "1-1", "B", "-", "A-"}
	r.Shuffle(len(names), func(i, j int) { names[i], names[j] = names[j], names[i] })
	labels := []string{"1", "2", "1-1", "1-2", "-1", "3"}
	m := &Manifest{Key: "k", Categories: []string{"x", "y"}, Rules: DefaultRules()}
	for range 1 + r.IntN(3) {
		s := Section{Name: names[0]}
		names = names[1:]
		for range 1 + r.IntN(3) {
			w := row([]string{"1", "1-1", "2", "2-1", "-"}[r.IntN(5)], 1+r.IntN(3), uint16(r.IntN(2)))
			w.Focal = uint16(r.IntN(2*len(w.Seats) - 1))
			for i := range w.Seats {
				if r.IntN(3) == 0 {
					w.Seats[i].Label = labels[r.IntN(len(labels))]
				}
				if r.IntN(8) == 0 {
					w.Seats[i].GUID = fmt.Sprint("g", r.IntN(20))
				}
				if r.IntN(8) == 0 {
					w.Seats[i].Access = Access(r.IntN(64))
				}
			}
			s.Rows = append(s.Rows, w)
		}
		m.Sections = append(m.Sections, s)
	}
	for range r.IntN(3) {
		m.Areas = append(m.Areas, Area{Name: names[0], Capacity: uint32(1 + r.IntN(100))})
		names = names[1:]
	}
	return m
}

func twinFindsClash(m *Manifest) string {
	seen := make(map[string]bool)
	twice := ""
	add := func(s string) {
		if seen[s] {
			twice = s
		}
		seen[s] = true
	}
	for _, s := range m.Sections {
		for _, w := range s.Rows {
			for _, seat := range w.Seats {
				add(s.Name + "-" + w.Name + "-" + seat.Label)
				if seat.GUID != "" {
					add("guid " + seat.GUID)
				}
			}
		}
	}
	for _, a := range m.Areas {
		for i := range a.Capacity {
			add(fmt.Sprintf("%s-%d", a.Name, i+1))
		}
	}
	return twice
}

// TestDistinctFindsWhatASetFinds is for lists that are long, repeated, and in
// any order.
func TestDistinctFindsWhatASetFinds(t *testing.T) {
	seed := rand.Uint64()
	var d distinct
	found := 0
	for run := range uint64(500) {
		r := rand.New(rand.NewPCG(seed, run))
		list := make([]string, 1+r.IntN(300))
		for i := range list {
			switch run % 3 {
			case 0:
				list[i] = strconv.Itoa(i) // counts up
			case 1:
				list[i] = strconv.Itoa(len(list) - i)
			default:
				list[i] = strconv.Itoa(r.IntN(len(list) * len(list)))
			}
		}
		if r.IntN(2) == 0 {
			list[r.IntN(len(list))] = list[r.IntN(len(list))]
		}
		first := make(map[string]int)
		d.reset(len(list))
		for i, s := range list {
			want, twice := first[s]
			got, found2 := d.add(s)
			if found2 != twice || twice && got != want {
				t.Fatalf("seed %d run %d: item %d %q: %d, %v; want %d, %v in %q", seed, run, i, s, got, found2, want, twice, list)
			}
			if twice {
				found++
				break
			}
			first[s] = i
		}
	}
	if found == 0 {
		t.Error("nothing was ever found")
	}
}
