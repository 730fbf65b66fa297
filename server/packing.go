package server

import (
	"bytes"
	"sync"

	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/s2"
	"github.com/klauspost/compress/zstd"

	"github.com/usher-seats/usher/wire"
)

// minPacked is the smallest body that is worth compressing, in bytes.
const minPacked = 4 << 10

// packers compress large answers. Safe on any goroutine.
type packers struct {
	zstd *zstd.Encoder
	gzip sync.Pool // of *gzip.Writer
}

func newPackers() *packers {
	z, err := zstd.NewWriter(nil, zstd.WithEncoderLevel(zstd.SpeedFastest))
	if err != nil {
		panic("server: zstd refuses its own level: " + err.Error())
	}
	return &packers{zstd: z}
}

// choosePacking picks one of the algorithms that a client can read.
func choosePacking(c wire.Compression) wire.Compression {
	for _, p := range []wire.Compression{wire.CompressZstd, wire.CompressS2, wire.CompressGzip} {
		if c&p != 0 {
			return p
		}
	}
	return wire.CompressNone
}

// pack compresses body: a zstd frame, an s2 block or a gzip member. ok is false
// if that would not make it smaller.
func (p *packers) pack(c wire.Compression, body []byte) (packed []byte, ok bool) {
	switch c {
	case wire.CompressZstd:
		packed = p.zstd.EncodeAll(body, nil)
	case wire.CompressS2:
		packed = s2.Encode(nil, body)
	case wire.CompressGzip:
		packed = p.packGzip(body)
	default:
		return nil, false
	}
	return packed, len(packed) < len(body)
}

func (p *packers) packGzip(body []byte) []byte {
	var b bytes.Buffer
	z, _ := p.gzip.Get().(*gzip.Writer)
	if z == nil {
		z, _ = gzip.NewWriterLevel(nil, gzip.BestSpeed) // the level exists
	}
	z.Reset(&b)
	_, err := z.Write(body)
	if err = z.Close(); err != nil {
		panic("server: gzip cannot write to memory: " + err.Error())
	}
	p.gzip.Put(z)
	return b.Bytes()
}
