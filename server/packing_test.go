package server

import (
	"bytes"
	"compress/gzip"
	"io"
	"testing"

	"github.com/klauspost/compress/s2"
	"github.com/klauspost/compress/zstd"

	"github.com/usher-seats/usher/wire"
)

func unpackAnswer(t *testing.T, c wire.Compression, b []byte) []byte {
	t.Helper()
	var plain []byte
	var err error
	switch c {
	case wire.CompressGzip:
		var z *gzip.Reader
		if z, err = gzip.NewReader(bytes.NewReader(b)); err == nil {
			plain, err = io.ReadAll(z)
		}
	case wire.CompressS2:
		plain, err = s2.Decode(nil, b)
	case wire.CompressZstd:
		var z *zstd.Decoder
		if z, err = zstd.NewReader(nil); err == nil {
			defer z.Close()
			plain, err = z.DecodeAll(b, nil)
		}
	}
	if err != nil {
		t.Fatalf("compression %d: %v", c, err)
	}
	return plain
}

// TestPackedAnswers proves that a large answer comes compressed as agreed, says
// so, and is the same underneath; that a small one comes as it is; and that
// nobody gets what he did not ask for.
func TestPackedAnswers(t *testing.T) {
	n := startNode(t, nil)
	large := openHall(t, n, hall("large", 300, 100))
	small := openHall(t, n, hall("small", 3, 10))
	plain := dial(t, n).want(wire.StatusOK, wire.KindMap, (&wire.EventRef{Event: large}).Append(nil))
	for _, c := range []wire.Compression{wire.CompressGzip, wire.CompressS2, wire.CompressZstd} {
		p := connect(t, n.Addr())
		if w := p.welcome(hello("", c)); w.Compression != c {
			t.Fatalf("agreed on %d, offered %d", w.Compression, c)
		}
		for range 2 { // the second with used encoders
			p.send(wire.KindMap, 0, (&wire.EventRef{Event: large}).Append(nil))
			h, body := p.receive()
			if h.Flags != wire.FlagAnswer|wire.FlagCompressed || len(body) >= len(plain) {
				t.Fatalf("compression %d: flags %d, %d bytes of %d", c, h.Flags, len(body), len(plain))
			}
			got := decode[wire.SeatMap](t, unpackAnswer(t, c, body))
			if want := decode[wire.SeatMap](t, plain); got.Version != want.Version || !bytes.Equal(got.Planes, want.Planes) {
				t.Errorf("compression %d: another map", c)
			}
		}
		p.send(wire.KindMap, 0, (&wire.EventRef{Event: small}).Append(nil))
		if h, _ := p.receive(); h.Flags != wire.FlagAnswer {
			t.Errorf("compression %d: a small answer has flags %d", c, h.Flags)
		}
	}
}

// TestManifestCache proves that the cache answers with what was put, stays
// within its bytes, and forgets the least used first.
func TestManifestCache(t *testing.T) {
	each := manifestBytes(hall("x", 1, 1), 4)
	c := newManifestCache(2*each + each/2)
	manifests := make([]*wire.Manifest, 4)
	for i := range manifests {
		manifests[i] = hall("x", 1, 1)
		c.put(wire.EventID(i), manifests[i], nil, 4)
		if i == 1 && c.get(0) == nil {
			t.Fatal("two manifests do not fit into two and a half")
		}
	}
	// 0 was used after 1, but both are older than 2 and 3.
	for i, want := range []bool{false, false, true, true} {
		if e := c.get(wire.EventID(i)); (e != nil) != want || want && e.manifest != manifests[i] {
			t.Errorf("manifest %d: %v, want %v", i, e != nil, want)
		}
	}
	if again := c.put(3, hall("x", 1, 1), nil, 4); again.manifest != manifests[3] {
		t.Error("the second to put a manifest replaced the first")
	}
	c.put(9, manifests[0], nil, 3*each) // alone above the limit
	if c.get(3) == nil {
		t.Error("a manifest that is not kept pushed out another")
	}
	if c.kept.bytes > c.kept.most || c.get(9) != nil {
		t.Errorf("%d bytes in a cache of %d", c.kept.bytes, c.kept.most)
	}
	c.put(7, manifests[0], nil, 1)
	for _, id := range []wire.EventID{2, 3, 7} {
		c.drop(id)
	}
	if c.get(7) != nil || c.kept.bytes != 0 || c.kept.order.Len() != len(c.kept.byKey) {
		t.Errorf("after a drop: %d bytes, %d entries", c.kept.bytes, c.kept.order.Len())
	}
}
