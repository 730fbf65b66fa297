package wire

import (
	"bytes"
	"encoding/json"
	"reflect"
	"runtime"
	"testing"
)

// bounded runs f and fails when it allocated more than limit bytes in all.
func bounded(t *testing.T, limit uint64, f func()) {
	t.Helper()
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	f()
	runtime.ReadMemStats(&after)
	if got := after.TotalAlloc - before.TotalAlloc; got > limit {
		t.Errorf("allocated %d bytes, at most %d are in order", got, limit)
	}
}

func FuzzParseHeader(f *testing.F) {
	f.Add(Header{Kind: KindHold, Request: 1}.Append(nil))
	f.Add(bytes.Repeat([]byte{0xff}, HeaderSize))
	f.Fuzz(func(t *testing.T, b []byte) {
		if len(b) < HeaderSize {
			return
		}
		h, err := ParseHeader(b, MaxRequestBody)
		if err != nil {
			return
		}
		if h.Body < 0 || h.Body > MaxRequestBody {
			t.Errorf("a body of %d bytes is accepted", h.Body)
		}
		if again := h.Append(nil); !bytes.Equal(again, b[:HeaderSize]) {
			t.Errorf("%x was encoded as %x", b[:HeaderSize], again)
		}
	})
}

func FuzzNextRecord(f *testing.F) {
	f.Add(Record{Kind: KindPay, Body: []byte("abc")}.Append(Record{Kind: KindHold}.Append(nil)))
	f.Add([]byte{0xff, 0xff, 0xff, 0xff, 1, 2, 3, 4, 5})
	f.Fuzz(func(t *testing.T, b []byte) {
		var again []byte
		for rest := b; len(rest) > 0; {
			r, tail, err := NextRecord(rest)
			if err != nil {
				return
			}
			again, rest = r.Append(again), tail
		}
		if !bytes.Equal(again, b) {
			t.Errorf("%x was encoded as %x", b, again)
		}
	})
}

// FuzzBodies decodes bytes as each kind of body. What is accepted must be the
// one encoding of what was decoded.
func FuzzBodies(f *testing.F) {
	samples := allSamples()
	for i, s := range samples {
		f.Add(uint8(i), s.body.Append(nil))
	}
	f.Fuzz(func(t *testing.T, which uint8, b []byte) {
		s := samples[int(which)%len(samples)]
		body := s.fresh()
		var err error
		bounded(t, 4096+64*uint64(len(b)), func() { err = body.Decode(b) })
		if err != nil {
			return
		}
		if again := body.Append(nil); !bytes.Equal(again, b) {
			t.Errorf("%s: %x was encoded as %x", s.name, b, again)
		}
		if m, err := ParseMutation(b); err == nil {
			_, _ = m.ID.Time()
			_ = m.ID.Valid()
		}
	})
}

func FuzzDecodeManifest(f *testing.F) {
	for _, m := range []*Manifest{smallManifest(), theatre(), hall(1), play()} {
		f.Add(m.Encode())
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		var m *Manifest
		var err error
		// A row of 4,096 seats takes six bytes and 160 KiB, so places count too.
		const place, slack = 160, 1 << 20
		bounded(t, place*MaxSeats+slack+100*uint64(len(b)), func() { m, err = DecodeManifest(b) })
		if err != nil {
			return
		}
		if again := m.Encode(); !bytes.Equal(again, b) {
			t.Errorf("%x was encoded as %x", b, again)
		}
		checkPlacesOf(t, m)
		text, err := json.Marshal(m)
		if err != nil {
			t.Fatal(err)
		}
		if back, err := ParseManifest(text); err != nil || !reflect.DeepEqual(back, m) {
			t.Errorf("%s does not give the manifest back: %v", text, err)
		}
	})
}

// checkPlacesOf looks some places up by their labels.
func checkPlacesOf(t *testing.T, m *Manifest) {
	t.Helper()
	p := m.Places()
	for s, tried := SeatID(0), 0; int(s) < 64*m.Words() && tried < 500; s++ {
		label := p.Label(s)
		if label == "" {
			continue
		}
		tried++
		if got, ok := p.Seat(label); !ok || got != s {
			t.Errorf("%q is seat %d (%v), want %d", label, got, ok, s)
		}
	}
}

func FuzzParseManifest(f *testing.F) {
	f.Add([]byte(playJSON))
	f.Add([]byte(pretixSample(f)))
	f.Add([]byte(`{"key":"k","sections":[{"name":"A","category":"C","rows":[{"name":"1","seats":2}]}]}`))
	f.Fuzz(func(t *testing.T, text []byte) {
		var m *Manifest
		var err error
		const place, slack = 160, 1 << 20
		bounded(t, place*MaxSeats+slack+4000*uint64(len(text)), func() { m, err = ParseManifest(text) })
		if err != nil {
			return
		}
		back, err := DecodeManifest(m.Encode())
		if err != nil || !reflect.DeepEqual(back, m) {
			t.Errorf("%s is lost in bytes: %v", text, err)
		}
		again, err := json.Marshal(m)
		if err != nil {
			t.Fatal(err)
		}
		if back, err := ParseManifest(again); err != nil || !reflect.DeepEqual(back, m) {
			t.Errorf("%s became %s, which is something else: %v", text, again, err)
		}
	})
}

func FuzzParseRulesPatch(f *testing.F) {
	f.Add([]byte(`{"hold_ttl_ms":5,"opens_at":"2026-06-01T11:00:00.5+02:00","closes_at":null}`))
	f.Fuzz(func(t *testing.T, text []byte) {
		u, err := ParseRulesPatch(DefaultRules(), text)
		if err != nil {
			return
		}
		again, err := json.Marshal(u)
		if err != nil {
			t.Fatal(err)
		}
		if back, err := ParseRulesPatch(DefaultRules(), again); err != nil || back != u {
			t.Errorf("%s became %s: %+v, %v", text, again, back, err)
		}
	})
}

func FuzzParseID(f *testing.F) {
	f.Add(sampleHold.String())
	f.Fuzz(func(t *testing.T, s string) {
		id, err := ParseID(s)
		if err != nil {
			return
		}
		if again, err := ParseID(id.String()); err != nil || again != id || !id.Valid() {
			t.Errorf("%q: %v, %v", s, id, err)
		}
	})
}
