package client

import (
	"context"
	"crypto/tls"
	"fmt"
	"log/slog"
	"net"
	"time"

	"github.com/usher-seats/usher/wire"
)

// Options of a client or a pipe. The zero value of a field means its default.
// Dial copies them, so the caller keeps what he passed.
type Options struct {
	// Key is the API key. Without TLS it crosses the network readable. Default:
	// none, which a node on loopback accepts as long as there are no keys.
	Key string

	// TLS, if not nil, encrypts all connections. An empty ServerName is taken
	// from the address.
	TLS *tls.Config

	// Conns is how many connections a client keeps to each node it needs.
	// Default 2, so that an answer of a megabyte does not hold up all others; a
	// connection carries thousands of requests at once.
	Conns int

	// RequestTimeout bounds calls whose context has no deadline, retries
	// included. Default 5 s: a shard that lost its leader has a new one before.
	RequestTimeout time.Duration

	// MaxInFlight bounds the unanswered requests of a connection; further
	// callers wait. Default 4096, and never more than the node accepts.
	MaxInFlight int

	// Compression asks for gzip on large answers. Default off: maps and holds
	// are small, and a data centre has more bandwidth than processor time.
	Compression bool

	// Dialer opens connections. Default: TCP with keep-alive.
	Dialer func(ctx context.Context, addr string) (net.Conn, error)

	// Logger is told about connections that come and go. Default: nobody is.
	Logger *slog.Logger
}

const (
	defaultConns          = 2
	defaultRequestTimeout = 5 * time.Second
	defaultMaxInFlight    = 4096

	maxConns    = 64
	maxInFlight = 1 << 16 // a slot costs memory from the start

	// dialTimeout bounds connecting, TLS and hello together. A dead node must
	// not use up a call's time when another could answer.
	dialTimeout = 2 * time.Second
)

// withDefaults gives a copy without zeroes, or says what is wrong.
func (o *Options) withDefaults() (Options, error) {
	var v Options
	if o != nil {
		v = *o
	}
	if v.Conns == 0 {
		v.Conns = defaultConns
	}
	if v.RequestTimeout == 0 {
		v.RequestTimeout = defaultRequestTimeout
	}
	if v.MaxInFlight == 0 {
		v.MaxInFlight = defaultMaxInFlight
	}
	if v.Dialer == nil {
		v.Dialer = dialTCP
	}
	if v.Logger == nil {
		v.Logger = slog.New(slog.DiscardHandler)
	}
	switch {
	case v.Conns < 1 || v.Conns > maxConns:
		return v, fmt.Errorf("Options.Conns is %d; want 1 to %d", v.Conns, maxConns)
	case v.MaxInFlight < 1 || v.MaxInFlight > maxInFlight:
		return v, fmt.Errorf("Options.MaxInFlight is %d; want 1 to %d", v.MaxInFlight, maxInFlight)
	case v.RequestTimeout < 0:
		return v, fmt.Errorf("Options.RequestTimeout is %v; it cannot be negative", v.RequestTimeout)
	case len(v.Key) > maxKeyBytes:
		return v, fmt.Errorf("Options.Key has %d bytes; want at most %d", len(v.Key), maxKeyBytes)
	}
	return v, nil
}

// maxKeyBytes keeps a hello below what a node reads of a stranger's first frame.
const maxKeyBytes = 512

func (o *Options) compression() wire.Compression {
	if o.Compression {
		return wire.CompressGzip
	}
	return wire.CompressNone
}

func dialTCP(ctx context.Context, addr string) (net.Conn, error) {
	return new(net.Dialer).DialContext(ctx, "tcp", addr)
}
