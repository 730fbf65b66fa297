package wire

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"strconv"
	"strings"
	"testing"
	"unicode"
)

var update = flag.Bool("update", false, "write testdata/*.txt anew: only for a new version of the protocol, or for something new")

// goldens are the files of testdata and what should be in them. A difference
// means that clients written from docs/protocol.md no longer understand us.
func goldens(t *testing.T) map[string]string {
	return map[string]string{
		"ids.txt":      goldenIDs(),
		"frames.txt":   goldenFrames(),
		"requests.txt": goldenBodies(requestSamples()),
		"answers.txt":  goldenBodies(answerSamples()),
		"manifest.txt": goldenManifests(t),
		"draw.txt":     goldenDraws(),
	}
}

func TestGoldenVectors(t *testing.T) {
	for name, want := range goldens(t) {
		path := filepath.Join("testdata", name)
		if *update {
			if err := os.WriteFile(path, []byte(want), 0o644); err != nil {
				t.Fatal(err)
			}
		}
		got, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		if string(got) != want {
			t.Errorf("%s is no longer what is encoded. Found:\n%s\nencoded now:\n%s", path, got, want)
		}
	}
}

// TestGoldenBytesDecode reads the vectors as a client's author does: from the
// hexadecimal digits alone. It would notice goldens written by a broken encoder.
func TestGoldenBytesDecode(t *testing.T) {
	bodies := make(map[string]*sample)
	for _, s := range publicSamples() {
		bodies[s.name] = &s
	}
	for _, file := range []string{"requests.txt", "answers.txt"} {
		for name, b := range readVectors(t, file) {
			s := bodies[name]
			if s == nil {
				t.Errorf("%s: no body is called %q", file, name)
				continue
			}
			got := s.fresh()
			if err := got.Decode(b); err != nil || !reflect.DeepEqual(got, s.body) {
				t.Errorf("%s: %s is %+v, %v; want %+v", file, name, got, err, s.body)
			}
			delete(bodies, name)
		}
	}
	for name := range bodies {
		t.Errorf("no vector for %s", name)
	}
}

// readVectors gives the bytes of each vector of a file, by its name.
func readVectors(t *testing.T, file string) map[string][]byte {
	t.Helper()
	text, err := os.ReadFile(filepath.Join("testdata", file))
	if err != nil {
		t.Fatal(err)
	}
	vectors := make(map[string][]byte)
	for block := range strings.SplitSeq(strings.TrimSpace(string(text)), "\n\n") {
		name, _, _ := strings.Cut(block, " ")
		_, digits, ok := strings.Cut(block, "hex:")
		if !ok {
			t.Fatalf("%s: no bytes in %q", file, block)
		}
		b, err := hex.DecodeString(strings.Join(strings.Fields(digits), ""))
		if err != nil {
			t.Fatalf("%s: %s: %v", file, name, err)
		}
		vectors[name] = b
	}
	return vectors
}

func goldenBodies(samples []sample) string {
	var b strings.Builder
	for i, s := range samples {
		if i > 0 {
			b.WriteByte('\n')
		}
		fmt.Fprintf(&b, "%s (%s)\n", s.name, s.usage)
		writeFields(&b, "", reflect.ValueOf(s.body).Elem())
		writeHex(&b, s.body.Append(nil))
	}
	return b.String()
}

func writeHex(b *strings.Builder, data []byte) {
	const perLine = 32
	for at := 0; at < len(data) || at == 0; at += perLine {
		label := "    "
		if at == 0 {
			label = "hex:"
		}
		fmt.Fprintf(b, "  %s %x\n", label, data[at:min(at+perLine, len(data))])
	}
}

// writeFields writes a line for each field, in the order of the bytes.
func writeFields(b *strings.Builder, prefix string, v reflect.Value) {
	for i := range v.NumField() {
		f := v.Type().Field(i)
		switch value := v.Field(i); {
		case f.Anonymous:
			writeFields(b, prefix, value)
		case value.Kind() == reflect.Struct:
			writeFields(b, prefix+snake(f.Name)+".", value)
		default:
			fmt.Fprintf(b, "  %s: %s\n", prefix+snake(f.Name), show(value))
		}
	}
}

// show writes a value as docs/protocol.md does.
func show(v reflect.Value) string {
	switch x := v.Interface().(type) {
	case ID:
		return x.String()
	case BuyerID:
		return fmt.Sprintf("%#016x", uint64(x))
	case ChannelKey:
		return fmt.Sprintf("%#016x", uint64(x))
	case RoomID:
		return fmt.Sprintf("%#016x", uint64(x))
	case PassID:
		return fmt.Sprintf("%#016x", uint64(x))
	case SeatList:
		return fmt.Sprint(x.IDs())
	case []byte:
		return showBytes(x)
	case [32]byte:
		return hex.EncodeToString(x[:])
	case [][]byte:
		names := make([]string, len(x))
		for i := range x {
			names[i] = showBytes(x[i])
		}
		return "[" + strings.Join(names, ", ") + "]"
	case bool:
		return strconv.FormatBool(x)
	case Role, SaleState, HoldState, RoomAction, PlaceState, QueueState:
		return fmt.Sprintf("%d (%s)", v.Uint(), x)
	}
	if v.Kind() == reflect.Slice {
		items := make([]string, v.Len())
		for i := range items {
			var b strings.Builder
			writeFields(&b, "", v.Index(i))
			items[i] = "{" + strings.Join(strings.Split(strings.TrimSpace(b.String()), "\n  "), ", ") + "}"
		}
		return "[" + strings.Join(items, ", ") + "]"
	}
	if v.CanInt() {
		return strconv.FormatInt(v.Int(), 10)
	}
	return strconv.FormatUint(v.Uint(), 10)
}

func showBytes(b []byte) string {
	for _, c := range b {
		if c < ' ' || c > '~' {
			return hex.EncodeToString(b)
		}
	}
	return strconv.Quote(string(b))
}

// snake turns HoldTTL into hold_ttl.
func snake(name string) string {
	var b strings.Builder
	runes := []rune(name)
	for i, r := range runes {
		if unicode.IsUpper(r) && i > 0 && (unicode.IsLower(runes[i-1]) || i+1 < len(runes) && unicode.IsLower(runes[i+1])) {
			b.WriteByte('_')
		}
		b.WriteRune(unicode.ToLower(r))
	}
	return b.String()
}

func goldenFrames() string {
	hello := &Hello{1, 1, CompressNone, nil}
	welcome := &Welcome{1, CompressNone, 16384, sampleRequest, []byte("node-1")}
	hold := &Hold{Mutation: sampleMutation(sampleHold), Seats: MakeSeatList(3, 4)}
	granted := &Granted{sampleFence, 1_900_000, 1_000_000, MakeSeatList(3, 4)}
	lost := &SeatsLost{Now: 1_000_000, Seats: MakeSeatList(4)}
	confirm := &OnHold{Mutation: sampleMutation(sampleHold), Fence: sampleFence}
	ref := &HoldRef{7, sampleHold}
	ask := Record{Kind: KindConfirm, Flags: FlagRepeat, Body: confirm.Append(nil)}.Append(nil)
	ask = Record{Kind: KindGetHold, Body: ref.Append(nil)}.Append(ask)
	booked := &Confirmed{false, 1_000_500, MakeSeatList(3, 4)}
	told := Record{Kind: KindConfirm, Flags: FlagAnswer, Body: booked.Append(nil)}.Append(nil)
	told = Record{Kind: KindGetHold, Flags: FlagAnswer, Status: StatusUnavailable}.Append(told)
	var b strings.Builder
	for _, f := range []struct {
		name   string
		header Header
		body   []byte
	}{
		{"Hello, the first frame of a connection", Header{Kind: KindHello, Request: 1}, hello.Append(nil)},
		{"Welcome, its answer", Header{Kind: KindHello, Flags: FlagAnswer, Request: 1}, welcome.Append(nil)},
		{"Refused, another answer to it", Header{Kind: KindHello, Flags: FlagAnswer, Status: StatusUnauthorized, Request: 1}, []byte("this node wants an API key")},
		{"Ping", Header{Kind: KindPing, Request: 2}, []byte("hi")},
		{"Pong", Header{Kind: KindPing, Flags: FlagAnswer, Request: 2}, []byte("hi")},
		{"Hold two seats", Header{Kind: KindHold, Request: 3}, hold.Append(nil)},
		{"Granted", Header{Kind: KindHold, Flags: FlagAnswer, Request: 3}, granted.Append(nil)},
		{"Taken, another answer to it", Header{Kind: KindHold, Flags: FlagAnswer, Status: StatusTaken, Request: 3}, lost.Append(nil)},
		{"Hold repeated, because no answer came", Header{Kind: KindHold, Flags: FlagRepeat, Request: 4}, hold.Append(nil)},
		{"Batch of two records", Header{Kind: KindBatch, Request: 1 << 40}, ask},
		{"Batch answered", Header{Kind: KindBatch, Flags: FlagAnswer, Request: 1 << 40}, told},
	} {
		f.header.Body = len(f.body)
		fmt.Fprintf(&b, "%s\n  length: %d\n  kind: %d\n  flags: %d\n  status: %d (%s)\n  request: %d\n",
			f.name, HeaderSize-4+len(f.body), f.header.Kind, f.header.Flags, f.header.Status, f.header.Status, f.header.Request)
		writeHex(&b, append(f.header.Append(nil), f.body...))
		b.WriteByte('\n')
	}
	return strings.TrimSuffix(b.String(), "\n")
}

func goldenIDs() string {
	var b strings.Builder
	timed := func(now Millis, random [10]byte) {
		fmt.Fprintf(&b, "timed id: shard time %d, random %x\n  %s\n", now, random, NewID(now, random))
	}
	timed(1_000_000, [10]byte{0x11, 0x22, 0x33, 0x44, 0x55, 0x66, 0x77, 0x88, 0x99, 0xaa})
	timed(1<<48-1, [10]byte{0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff})
	for _, key := range []string{"", "create summer-gala", "order 4711"} {
		fmt.Fprintf(&b, "hashed id: key %q\n  %s\n", key, KeyID(key))
	}
	for _, name := range []string{"", "alice@example.org", "fan club 2026"} {
		fmt.Fprintf(&b, "buyer or channel: name %q\n  %#016x\n", name, uint64(Buyer(name)))
	}
	fmt.Fprintf(&b, "room: made by %s\n  %#016x\n", sampleRequest, uint64(NewRoomID(sampleRequest)))
	fmt.Fprintf(&b, "pass: ticket %q\n  %#016x\n", sampleTicket, uint64(Pass(sampleTicket)))
	fmt.Fprintf(&b, "visitor: key \"ann\"\n  %x\n", Visitor("ann"))
	fmt.Fprintf(&b, "version: epoch 1, counter 42\n  %#016x\n", uint64(MakeVersion(1, 42)))
	return b.String()
}

func goldenManifests(t *testing.T) string {
	t.Helper()
	full := theatre()
	full.Sections[0].Rows = full.Sections[0].Rows[:1]
	full.Sections = append(full.Sections, Section{Name: "Box", Rows: []Row{row("10", 130, 0)}})
	full.Rules.OpensAt = 1_780_300_800_000
	var b strings.Builder
	for i, m := range []*Manifest{smallManifest(), full} {
		text, err := json.Marshal(m)
		if err != nil {
			t.Fatal(err)
		}
		if parsed, err := ParseManifest(text); err != nil || !reflect.DeepEqual(parsed, m) {
			t.Fatalf("%s is not what it was made of: %v", text, err)
		}
		if i > 0 {
			b.WriteByte('\n')
		}
		encoded := m.Encode()
		fmt.Fprintf(&b, "manifest\n  json: %s\n  sha256: %x\n", text, sha256.Sum256(encoded))
		writeHex(&b, encoded)
		p := m.Places()
		fmt.Fprintf(&b, "  words: %d\n", m.Words())
		for word := range m.Words() {
			s := SeatID(64 * word)
			fmt.Fprintf(&b, "  seat %d: %s\n", s, p.Label(s))
		}
	}
	return b.String()
}
