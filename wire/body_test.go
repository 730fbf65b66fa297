package wire

import (
	"crypto/sha256"
	"encoding/binary"
	"go/ast"
	"go/parser"
	"go/token"
	"os"
	"reflect"
	"strings"
	"testing"
)

// A codec is a body of a frame.
type codec interface {
	Append(b []byte) []byte
	Decode(body []byte) error
}

// helloBody makes a codec of Hello, whose Decode also says whether the magic
// was right.
type helloBody struct{ Hello }

func (h *helloBody) Decode(body []byte) error {
	magic, err := h.Hello.Decode(body)
	if err == nil && !magic {
		return ErrShort
	}
	return err
}

// A sample is a body with a value in every field. It is also a golden vector.
type sample struct {
	name  string // of the type
	usage string // where the body occurs, for the vectors
	body  codec
}

func (s *sample) fresh() codec {
	return reflect.New(reflect.TypeOf(s.body).Elem()).Interface().(codec)
}

var (
	sampleHold    = NewID(1_000_000, [10]byte{0x11, 0x22, 0x33, 0x44, 0x55, 0x66, 0x77, 0x88, 0x99, 0xaa})
	sampleRequest = NewID(1_000_007, [10]byte{0xa1, 0xa2, 0xa3, 0xa4, 0xa5, 0xa6, 0xa7, 0xa8, 0xa9, 0xaa})
	sampleFence   = MakeVersion(1, 42)
)

// sampleTicket stands for the text of a ticket, which only nodes can read.
const sampleTicket = "AQEHAAAAMn1Z0aYf"

// sampleSeed is 0, 1 … 31.
var sampleSeed = func() (seed [32]byte) {
	for i := range seed {
		seed[i] = byte(i)
	}
	return seed
}()

func sampleRoom() RoomConfig {
	return RoomConfig{
		Limit: 500, Rate: 200_000, Grace: 60_000, PassTTL: 600_000, SeatsPerPass: 4, OnePerVisitor: true,
		OpensAt: 1_780_300_800_000, EntriesUntil: 1_780_300_500_000, Source: []byte("beacon.example, first round after entries close"),
	}
}

func visitorBytes(key string) []byte {
	v := Visitor(key)
	return v[:]
}

func sampleMutation(id ID) Mutation {
	return Mutation{Event: 7, ID: id, Deadline: 1_005_000}
}

func requestSamples() []sample {
	hold, own := sampleMutation(sampleHold), sampleMutation(sampleRequest)
	directory := Mutation{ID: KeyID("create summer-gala")}
	buyer, channel := Buyer("alice@example.org"), Channel("fan club 2026")
	rules := Rules{
		HoldTTL: 600_000, MaxTTL: 1_200_000, PayCap: 300_000, Extensions: 2, SeatsPerHold: 6, SeatsPerBuyer: 8,
		RefuseOrphans: true, OpensAt: 1_780_300_800_000, ClosesAt: 1_780_387_200_000,
	}
	manifest := smallManifest().Encode()
	digest := sha256.Sum256(manifest)
	pass := Pass(sampleTicket)
	visitors := append(visitorBytes("ann"), visitorBytes("bob")...)
	return []sample{
		{"Hello", "request of kind 1", &helloBody{Hello{1, 1, CompressGzip, []byte("sk-9f2c")}}},
		{"Key", "request of kind 8", &Key{[]byte("summer-gala")}},
		{"EventsQuery", "request of kind 9", &EventsQuery{[]byte("spring"), 100}},
		{"EventRef", "request of kinds 10, 11, 12, 16", &EventRef{7}},
		{"ChangesQuery", "request of kind 13", &ChangesQuery{7, MakeVersion(1, 40)}},
		{"HoldRef", "request of kind 14", &HoldRef{7, sampleHold}},
		{"Hold", "request of kind 32", &Hold{hold, buyer, channel, pass, 120_000, HoldAlternative, MakeSeatList(3, 4)}},
		{"HoldBest", "request of kind 33", &HoldBest{hold, buyer, channel, pass, 0, HoldSplit | HoldNoOrphan, AccessStepFree, 4, Any, 1<<0 | 1<<2}},
		{"HoldArea", "request of kind 34", &HoldArea{hold, buyer, 0, 0, 0, 1, 2}},
		{"Extend", "request of kind 35", &Extend{hold, sampleFence, 300_000, 1}},
		{"Pay", "request of kind 36", &Pay{hold, sampleFence}},
		{"OnHold", "request of kinds 37, 38", &OnHold{hold, sampleFence, MakeSeatList(4)}},
		{"Cancel", "request of kind 39", &Cancel{own, sampleHold, MakeSeatList(3)}},
		{"Exchange", "request of kind 40", &Exchange{own, sampleHold, channel, MakeSeatList(3, 4), MakeSeatList(64, 65)}},
		{"SeatsOp", "request of kinds 41, 42", &SeatsOp{own, MakeSeatList(64, 66)}},
		{"SetChannel", "request of kind 43", &SetChannel{own, []byte("fans"), channel, MakeSeatList(65)}},
		{"SetRules", "request of kind 44", &SetRules{own, rules}},
		{"Create", "request of kind 45", &Create{own, 0, uint32(len(manifest)), digest, manifest}},
		{"EventOp", "request of kinds 46, 65", &EventOp{own}},
		{"WallClock", "kind 47, not for clients", &WallClock{own, 1_780_300_800_000}},
		{"SetRoom", "request of kind 48", &SetRoom{own, sampleSeed, sampleRoom()}},
		{"DirectRoom", "request of kind 49", &DirectRoom{own, RoomDraw, []byte("round 4711: 0x8f3a")}},
		{"Issue", "kind 50, not for clients", &Issue{own, 2, visitors}},
		{"Redeem", "kind 51, not for clients", &Redeem{own, NewRoomID(sampleRequest), 41_999, pass}},
		{"Leave", "kind 52, not for clients", &Leave{own, NewRoomID(sampleRequest), 41_999, pass}},
		{"Assign", "request of kind 64", &Assign{directory, []byte("summer-gala"), digest}},
		{"AddKey", "request of kind 66", &AddKey{directory, []byte("box office"), sha256.Sum256([]byte("sk-9f2c")), RoleSell}},
		{"DropKey", "request of kind 67", &DropKey{directory, []byte("box office")}},
		{"Join", "request of kind 80", &Join{own, 1, []byte("ann")}},
		{"Admit", "request of kind 81", &Admit{own, []byte(sampleTicket)}},
		{"Quit", "request of kind 82", &Quit{own, []byte(sampleTicket)}},
		{"TicketRef", "request of kind 83", &TicketRef{7, []byte(sampleTicket)}},
	}
}

// clusterSamples are the bodies that only nodes write and read.
func clusterSamples() []sample {
	op := Mutation{7, sampleRequest, 1_002_000}
	hash := sha256.Sum256([]byte("secret"))
	node := NodeInfo{[]byte("n2"), sampleHold, []byte("10.0.0.2:7701"), []byte("10.0.0.2:7700"), []byte("10.0.0.2:8080"), []byte("10.0.0.2:9090")}
	return []sample{
		{"Bootstrap", "", &Bootstrap{op, sampleRequest, 8, 3, node, hash}},
		{"By", "", &By{[]byte("operator"), 1_780_300_800_000, []byte("record")}},
		{"AddNode", "", &AddNode{op, node}},
		{"DrainNode", "", &DrainNode{op, []byte("n2"), true}},
		{"RemoveNode", "", &RemoveNode{op, []byte("n2"), true}},
		{"AddShards", "", &AddShards{op, 4}},
		{"Shards", "", &Shards{9, 4}},
		{"SetReplicas", "", &SetReplicas{op, 3, 17, [][]byte{[]byte("n1"), []byte("n2")}}},
		{"Move", "", &Move{op, 3}},
		{"Number", "", &Number{12}},
		{"Numbered", "", &Numbered{op, 12}},
		{"AddSigningKey", "", &AddSigningKey{op, hash}},
		{"Freeze", "", &Freeze{op, 12}},
		{"Frozen", "", &Frozen{100, 1_000_000, 0xfeed, 2}},
		{"Import", "", &Import{op, 12, 5, 64, 1024, []byte("chunk")}},
		{"Replay", "", &Replay{op, 12, 5, 99, AppendReplayed(nil, 100, 1_000_000, []byte("records"))}},
		{"Adopt", "", &Adopt{op, 12, 5, 0xfeed, 1_000_000, 3}},
		{"PlaceRef", "", &PlaceRef{7, NewRoomID(sampleRequest), 41_999}},
	}
}

func answerSamples() []sample {
	rules := DefaultRules()
	planes := make([]byte, 32)
	planes[0], planes[8] = 0b0010_1010, 0b0011_0000 // seats 1, 3: held; 4: booked; 5: blocked
	for i := range 8 {
		planes[16+i], planes[24+i] = 0xff, 0xff // a word of blocked seats and padding
	}
	changes := AppendChange(nil, Change{MakeVersion(1, 41), 3, SeatFree, SeatHeld})
	changes = AppendChange(changes, Change{MakeVersion(1, 42), 3, SeatHeld, SeatBooked})
	room := NewRoomID(sampleRequest)
	admitted := Admitted{room, Pass(sampleTicket), 1_699, 1_600_000, 1_000_000, 4}
	return []sample{
		{"Welcome", "answer of kind 1", &Welcome{1, CompressGzip, 16384, sampleRequest, []byte("node-1")}},
		{"Location", "answer of kinds 8, 64", &Location{7, 3, 1_000_000, []byte("10.0.0.2:7700")}},
		{"EventList", "answer of kind 9", &EventList{[]EventEntry{{[]byte("summer-gala"), 7, 3}, {[]byte("winter"), 9, 1}}}},
		{"NodeList", "answer of kind 15", &NodeList{9, []NodeEntry{{[]byte("n1"), []byte("10.0.0.1:7700")}, {[]byte("n2"), []byte("10.0.0.2:7700")}}}},
		{"EventInfo", "answer of kind 10", &EventInfo{
			Version: sampleFence, Now: 1_000_000, Age: 40, Sale: SaleOpen, Rules: rules,
			Total:      Counts{10, 2, 1, 3},
			Sections:   []Counts{{8, 2, 1, 0}, {2, 0, 0, 3}},
			Categories: []Counts{{10, 2, 1, 3}},
			Channels:   [][]byte{[]byte("fans"), []byte("press")},
		}},
		{"SeatMap", "answer of kind 12", &SeatMap{sampleFence, 1_000_000, 40, planes}},
		{"Changes", "answer of kind 13", &Changes{sampleFence, false, changes}},
		{"HoldInfo", "answer of kind 14", &HoldInfo{StateHeld, false, 1, sampleFence, 1_120_000, 1_000_000, Buyer("alice@example.org"), MakeSeatList(3), MakeSeatList(4)}},
		{"Granted", "answer of kinds 32, 33, 34", &Granted{sampleFence, 1_120_000, 1_000_000, MakeSeatList(3, 4)}},
		{"Timing", "answer of kinds 35, 36", &Timing{1_300_000, 1_000_000}},
		{"Confirmed", "answer of kinds 37, 40", &Confirmed{true, 1_000_000, MakeSeatList(3, 4)}},
		{"SeatsLost", "answer of kinds 38, 39; of statuses 1, 3, 7, 12, 19", &SeatsLost{1_000_000, MakeSeatList(4), MakeSeatList(8, 9)}},
		{"Clock", "answer of statuses 13, 14, 16", &Clock{1_000_000}},
		{"QueueInfo", "answer of kind 16", &QueueInfo{
			Version: sampleFence, Now: 1_000_000, Age: 40, State: QueueOpen, Step: 812, Room: room,
			Entries: 40_000, Issued: 43_210, Serving: 1_700, LapsedTo: 900, Redeemed: 1_200, Lapsed: 270, Booked: 380,
			Inside: 470, Outstanding: 30, Free: 9_000, Held: 620, EntriesOpen: true, Drawn: true,
			Commitment: Commitment(sampleSeed, sampleRoom().Source), Seed: sampleSeed, Config: sampleRoom(),
			Entropy: []byte("round 4711: 0x8f3a"),
		}},
		{"Issued", "answer of kind 50", &Issued{room, 1_000_000, MaxNumbers, 7, 2, binary.LittleEndian.AppendUint64(binary.LittleEndian.AppendUint64(nil, 7), 3)}},
		{"Admitted", "answer of kind 51", &admitted},
		{"Tickets", "answer of kind 80", &Tickets{room, 1_000_000, []Ticket{{true, 41_999, []byte(sampleTicket)}, {false, 42_000, []byte("AQI")}}}},
		{"Admission", "answer of kind 81", &Admission{admitted, []byte("AQM")}},
		{"QueuePlace", "answer of kind 83; of status 27", &QueuePlace{PlaceCalled, true, 1_699, 12, 1_060_000, 1_000_000}},
	}
}

// publicSamples are those of docs/protocol.md.
func publicSamples() []sample { return append(requestSamples(), answerSamples()...) }

func allSamples() []sample { return append(publicSamples(), clusterSamples()...) }

// smallManifest has two plain rows of a section and an area.
func smallManifest() *Manifest {
	return &Manifest{
		Key: "summer-gala", Name: "Summer Gala", Categories: []string{"Gold", "Lawn"},
		Sections: []Section{{Name: "A", Rows: []Row{row("1", 10, 0), row("2", 12, 0)}}},
		Areas:    []Area{{Name: "Lawn", Category: 1, Capacity: 500}},
		Rules:    DefaultRules(),
	}
}

func TestBodiesRoundTrip(t *testing.T) {
	for _, s := range allSamples() {
		b := s.body.Append(nil)
		got := s.fresh()
		if err := got.Decode(b); err != nil {
			t.Errorf("%s: %v", s.name, err)
			continue
		}
		if !reflect.DeepEqual(got, s.body) {
			t.Errorf("%s came back as %+v, was %+v", s.name, got, s.body)
		}
		if s.fresh().Decode(append(b, 0)) == nil {
			t.Errorf("%s with a byte after its end is accepted", s.name)
		}
		for n := range b {
			if s.fresh().Decode(b[:n:n]) == nil {
				t.Errorf("%s cut to %d of %d bytes is accepted", s.name, n, len(b))
			}
		}
	}
}

// TestSamplesHaveNoZeroField makes sure that the round trip would notice a field
// that is not encoded.
func TestSamplesHaveNoZeroField(t *testing.T) {
	allowed := map[string]bool{
		"HoldArea.Channel": true, "HoldArea.Pass": true, "HoldArea.TTL": true, "HoldBest.TTL": true, // have one in Hold
		"Create.Offset": true, "Changes.Resync": true, "HoldInfo.Reacquired": true,
		"Assign.Event": true, "Assign.Deadline": true, "AddKey.Event": true, "AddKey.Deadline": true,
		"DropKey.Event": true, "DropKey.Deadline": true,
	}
	for _, s := range allSamples() {
		v := reflect.ValueOf(s.body).Elem()
		for _, f := range reflect.VisibleFields(v.Type()) {
			if !f.Anonymous && v.FieldByIndex(f.Index).IsZero() && !allowed[s.name+"."+f.Name] {
				t.Errorf("%s.%s is zero", s.name, f.Name)
			}
		}
	}
}

// TestEveryBodyHasASample looks for types with a Decode method in the source.
func TestEveryBodyHasASample(t *testing.T) {
	have := make(map[string]bool)
	for _, s := range allSamples() {
		have[s.name] = true
	}
	entries, err := os.ReadDir(".")
	if err != nil {
		t.Fatal(err)
	}
	found := 0
	for _, e := range entries {
		if !strings.HasSuffix(e.Name(), ".go") || strings.HasSuffix(e.Name(), "_test.go") {
			continue
		}
		file, err := parser.ParseFile(token.NewFileSet(), e.Name(), nil, 0)
		if err != nil {
			t.Fatal(err)
		}
		for _, d := range file.Decls {
			f, ok := d.(*ast.FuncDecl)
			if !ok || f.Recv == nil || f.Name.Name != "Decode" {
				continue
			}
			found++
			name := f.Recv.List[0].Type.(*ast.StarExpr).X.(*ast.Ident).Name
			if !have[name] {
				t.Errorf("%s has no sample: add one, and golden vectors with go test ./wire -run Golden -update", name)
			}
		}
	}
	if found != len(have) {
		t.Errorf("%d types decode, %d have samples", found, len(have))
	}
}

func TestReservedBytesAndBooleansAreStrict(t *testing.T) {
	spoil := []struct {
		body codec
		at   int
	}{
		{&Hold{Seats: MakeSeatList(1)}, 61},
		{&SetRoom{}, SeedAt + 32 + 17},
		{&QueuePlace{}, 1},
		{&SetRules{Rules: DefaultRules()}, MutationSize + 16},
		{&Confirmed{}, 0},
		{&Changes{}, 8},
		{&HoldInfo{}, 1},
	}
	for _, c := range spoil {
		b := c.body.Append(nil)
		if err := c.body.Decode(b); err != nil {
			t.Errorf("%T: %v", c.body, err)
		}
		b[c.at] = 2
		if c.body.Decode(b) == nil {
			t.Errorf("%T accepts 2 at byte %d", c.body, c.at)
		}
	}
}

// TestCountsAreCheckedBeforeTheyAreUsed announces more items than there are
// bytes, in each list that becomes a slice.
func TestCountsAreCheckedBeforeTheyAreUsed(t *testing.T) {
	info := len((&EventInfo{}).Append(nil)) // ends with counts of 2, 2 and 1 bytes
	for _, c := range []struct {
		body      codec
		size      int
		from, end int // where the count is
	}{
		{&EventList{}, 2, 0, 2},
		{&NodeList{}, 10, 8, 10},
		{&Tickets{}, 18, 16, 18},
		{&SetReplicas{}, MutationSize + 13, MutationSize + 12, MutationSize + 13},
		{&EventInfo{}, info, info - 5, info - 3},
		{&EventInfo{}, info, info - 3, info - 1},
		{&EventInfo{}, info, info - 1, info},
	} {
		b := make([]byte, c.size)
		if err := c.body.Decode(b); err != nil {
			t.Fatalf("%T of zeroes: %v", c.body, err)
		}
		for i := c.from; i < c.end; i++ {
			b[i] = 0xff
		}
		allocated := testing.AllocsPerRun(10, func() { _ = c.body.Decode(b) })
		if err := c.body.Decode(b); err == nil || allocated > 0 {
			t.Errorf("%T with a count at %d: %v after %v allocations", c.body, c.from, err, allocated)
		}
	}
}

// TestNoAllocation proves that encoding into a buffer and decoding from one
// costs no garbage, for all bodies but those that contain lists of more than bytes.
func TestNoAllocation(t *testing.T) {
	buffer := make([]byte, 0, 1024)
	for _, s := range allSamples() {
		b := s.body.Append(nil)
		into := s.fresh()
		if n := testing.AllocsPerRun(100, func() { s.body.Append(buffer) }); n > 0 {
			t.Errorf("encoding %s allocates %v times", s.name, n)
		}
		if s.name == "EventList" || s.name == "EventInfo" || s.name == "NodeList" || s.name == "Tickets" || s.name == "SetReplicas" {
			continue
		}
		if n := testing.AllocsPerRun(100, func() { _ = into.Decode(b) }); n > 0 {
			t.Errorf("decoding %s allocates %v times", s.name, n)
		}
	}
}

func BenchmarkHold(b *testing.B) {
	h := Hold{Mutation: sampleMutation(sampleHold), Buyer: 1, Seats: MakeSeatList(3, 4)}
	body := h.Append(nil)
	b.Run("encode", func(b *testing.B) {
		b.ReportAllocs()
		buffer := make([]byte, 0, 128)
		for b.Loop() {
			buffer = h.Append(buffer[:0])
		}
	})
	b.Run("decode", func(b *testing.B) {
		b.ReportAllocs()
		var into Hold
		for b.Loop() {
			if err := into.Decode(body); err != nil {
				b.Fatal(err)
			}
		}
	})
}
