package wire

import (
	"go/ast"
	"go/parser"
	"go/token"
	"reflect"
	"strconv"
	"strings"
	"testing"
)

func TestHeaderRoundTrip(t *testing.T) {
	h := Header{Body: 5, Kind: KindHold, Flags: FlagRepeat | FlagConsistent, Status: 0x1234, Request: 1<<63 | 7}
	b := h.Append(nil)
	if len(b) != HeaderSize {
		t.Fatalf("%d bytes", len(b))
	}
	got, err := ParseHeader(b, 5)
	if err != nil || got != h {
		t.Errorf("%+v, %v", got, err)
	}
	put := make([]byte, HeaderSize)
	h.Put(put)
	if !reflect.DeepEqual(put, b) {
		t.Errorf("Put writes %x, Append %x", put, b)
	}
	if _, err := ParseHeader(b, 4); err == nil || !strings.Contains(err.Error(), "5 bytes is above the limit of 4") {
		t.Errorf("a body above the limit: %v", err)
	}
	for _, n := range []byte{0, 11} {
		b[0] = n
		if _, err := ParseHeader(b, 1000); err == nil {
			t.Errorf("frame length %d is accepted", n)
		}
	}
	huge := []byte{0xff, 0xff, 0xff, 0xff, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0}
	if _, err := ParseHeader(huge, MaxAnswerBody); err == nil {
		t.Error("a frame of 4 GiB is accepted")
	}
}

func TestRecords(t *testing.T) {
	first := Record{Kind: KindHold, Flags: FlagRepeat, Status: 3, Body: []byte("body")}
	second := Record{Kind: KindPay, Body: []byte{}}
	b := second.Append(first.Append(nil))
	r, rest, err := NextRecord(b)
	if err != nil || !reflect.DeepEqual(r, first) {
		t.Fatalf("%+v, %v", r, err)
	}
	if cap(r.Body) != len(r.Body) {
		t.Error("appending to a record's body would write over the next record")
	}
	if r, rest, err = NextRecord(rest); err != nil || !reflect.DeepEqual(r, second) || len(rest) != 0 {
		t.Fatalf("%+v, %d bytes left, %v", r, len(rest), err)
	}
	for n := range RecordSize + 4 {
		if _, _, err := NextRecord(b[:n:n]); err == nil {
			t.Errorf("a record cut to %d bytes is accepted", n)
		}
	}
}

func TestIDs(t *testing.T) {
	id := NewID(1_000_000, [10]byte{1, 2, 3, 4, 5, 6, 7, 8, 9, 10})
	if at, timed := id.Time(); !timed || at != 1_000_000 || !id.Valid() {
		t.Errorf("%v: time %d, %v, valid %v", id, at, timed, id.Valid())
	}
	key := KeyID("order 4711")
	if _, timed := key.Time(); timed || !key.Valid() {
		t.Errorf("%v: timed %v, valid %v", key, timed, key.Valid())
	}
	for _, id := range []ID{id, key} {
		if got, err := ParseID(id.String()); err != nil || got != id {
			t.Errorf("%v came back as %v, %v", id, got, err)
		}
	}
	if (ID{}).Valid() {
		t.Error("the zero id is valid")
	}
	for text, want := range map[string]string{
		"":                                      "is not a UUID",
		"0000000f-4240-7122-b344-5566778899a":   "is not a UUID",
		"0000000f-4240-7122-b344-5566778899aaa": "is not a UUID",
		"0000000f+4240-7122-b344-5566778899aa":  "is not a UUID",
		"0000000f-4240-7122-b344-5566778899ag":  "is not a UUID",
		"0000000f-4240-4122-b344-5566778899aa":  "wrong UUID version",
		"0000000f-4240-7122-7344-5566778899aa":  "wrong UUID version",
	} {
		if _, err := ParseID(text); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %v, want %s", text, err, want)
		}
	}
}

// TestNobodyAndNoChannelAreZero: zero means none, so no name may hash to it.
func TestNobodyAndNoChannelAreZero(t *testing.T) {
	if Buyer("") != 0 || Channel("") != 0 {
		t.Error("the empty name has a hash")
	}
	if Buyer("x") == 0 || uint64(Buyer("x")) != uint64(Channel("x")) {
		t.Error("buyers and channels are hashed in two ways")
	}
}

func TestVersions(t *testing.T) {
	v := MakeVersion(3, 1<<48-1)
	if v.Epoch() != 3 || v.Counter() != 1<<48-1 || v+1 != MakeVersion(4, 0) {
		t.Errorf("%#x: epoch %d, counter %d", uint64(v), v.Epoch(), v.Counter())
	}
}

func TestSeatMapStates(t *testing.T) {
	var m SeatMap
	for _, s := range answerSamples() {
		if sample, ok := s.body.(*SeatMap); ok {
			m = *sample
		}
	}
	want := []SeatState{SeatFree, SeatHeld, SeatFree, SeatHeld, SeatBooked, SeatBlocked, SeatFree}
	for s, state := range want {
		if got := m.State(SeatID(s)); got != state {
			t.Errorf("seat %d is %v, want %v", s, got, state)
		}
	}
	for _, s := range []SeatID{64, 127, 128, 1<<32 - 1} {
		if got := m.State(s); got != SeatBlocked {
			t.Errorf("seat %d is %v", s, got)
		}
	}
}

// constants gives the values of the package's constants that begin with a prefix.
func constants(t *testing.T, file, prefix string) map[string]uint64 {
	t.Helper()
	parsed, err := parser.ParseFile(token.NewFileSet(), file, nil, 0)
	if err != nil {
		t.Fatal(err)
	}
	values := make(map[string]uint64)
	ast.Inspect(parsed, func(n ast.Node) bool {
		v, ok := n.(*ast.ValueSpec)
		if !ok || !strings.HasPrefix(v.Names[0].Name, prefix) || len(v.Values) == 0 {
			return true
		}
		if lit, ok := v.Values[0].(*ast.BasicLit); ok {
			if n, err := strconv.ParseUint(lit.Value, 0, 16); err == nil {
				values[v.Names[0].Name] = n
			}
		}
		return true
	})
	if len(values) == 0 {
		t.Fatalf("%s has no constants %s…", file, prefix)
	}
	return values
}

func TestEveryStatusHasItsCode(t *testing.T) {
	codes := make(map[string]bool)
	for name, v := range constants(t, "status.go", "Status") {
		s := Status(v)
		if strings.HasPrefix(s.String(), "status_") || codes[s.String()] {
			t.Errorf("%s has the code %s", name, s)
		}
		codes[s.String()] = true
		if s.Decided() != (v < 256) || s.NotApplied() != (s != StatusOK && s != StatusUnknown) {
			t.Errorf("%s: decided %v, not applied %v", name, s.Decided(), s.NotApplied())
		}
	}
	if len(codes) != len(statusNames) {
		t.Errorf("%d statuses, %d codes", len(codes), len(statusNames))
	}
	if Status(999).String() != "status_999" {
		t.Error(Status(999))
	}
}

// TestKindsKnowWhereTheyBelong: what mutates begins with a Mutation, and nothing
// both mutates and belongs to the directory.
func TestKindsKnowWhereTheyBelong(t *testing.T) {
	for name, v := range constants(t, "frame.go", "Kind") {
		k := Kind(v)
		if k.Mutates() != (v >= 32 && v < 47 || v == 48 || v == 49) || k.Room() != (v >= 50 && v < 53) || k.Directory() != (v >= 64 && v < 68) {
			t.Errorf("%s: mutates %v, directory %v", name, k.Mutates(), k.Directory())
		}
	}
}

// TestIDHashSpreads: ids of one millisecond, alike but for one random bit, must
// not meet in a table of 64 slots more often than chance has it.
func TestIDHashSpreads(t *testing.T) {
	for _, shift := range []int{0, 32, 58} {
		slots := make(map[uint64]int)
		for bit := range 64 {
			id := sampleHold
			id[8+bit/8] ^= 1 << (bit % 8)
			slots[id.Hash()>>shift&63]++
		}
		for slot, n := range slots {
			if n > 8 {
				t.Errorf("%d of 64 ids are in slot %d of the bits from %d on", n, slot, shift)
			}
		}
	}
}

func TestChangesAndCounts(t *testing.T) {
	c := Change{Version: 9, Seat: 3, From: SeatHeld, To: SeatBooked}
	list := Changes{List: AppendChange(AppendChange(nil, Change{}), c)}
	if list.Len() != 2 || list.At(1) != c {
		t.Errorf("%d changes, the second is %+v", list.Len(), list.At(1))
	}
	var n Counts
	for i, s := range []SeatState{SeatFree, SeatHeld, SeatBooked, SeatBlocked} {
		n.Add(s, uint32(i+1))
	}
	if n != (Counts{Free: 1, Held: 2, Booked: 3, Blocked: 4}) {
		t.Errorf("%+v", n)
	}
}

func TestNamesOfStates(t *testing.T) {
	for want, got := range map[string]string{
		"held": StateHeld.String(), "paying": StatePaying.String(), "booked": StateBooked.String(), "released": StateReleased.String(),
		"expired": StateExpired.String(), "lost": StateLost.String(), "cancelled": StateCancelled.String(),
		"free": SeatFree.String(), "blocked": SeatBlocked.String(), "open": SaleOpen.String(), "closed": SaleClosed.String(),
		"unknown": HoldState(99).String(), "sell": RoleSell.String(),
	} {
		if got != want {
			t.Errorf("%q, want %q", got, want)
		}
	}
	for _, r := range []Role{RoleRead, RoleSell, RoleOperate} {
		if got, ok := ParseRole(r.String()); !ok || got != r {
			t.Errorf("role %v came back as %v, %v", r, got, ok)
		}
	}
	for _, name := range []string{"none", "", "admin"} {
		if r, ok := ParseRole(name); ok {
			t.Errorf("%q is role %v", name, r)
		}
	}
}
