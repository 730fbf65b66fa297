package client

import (
	"bytes"
	"compress/gzip"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"time"

	"github.com/usher-seats/usher/wire"
)

// A peer is what a node said of itself at hello. Immutable.
type peer struct {
	node        string
	cluster     wire.ID
	maxInFlight int
	compression wire.Compression
}

// maxWelcome bounds the body of the first answer: nobody has proved yet that he
// speaks our protocol.
const maxWelcome = 4096

// dialPeer connects to addr and says hello, within dialTimeout and ctx. The
// connection it returns has no deadline set.
func dialPeer(ctx context.Context, addr string, o *Options) (net.Conn, peer, error) {
	ctx, cancel := context.WithTimeout(ctx, dialTimeout)
	defer cancel()
	nc, err := o.Dialer(ctx, addr)
	if err != nil {
		return nil, peer{}, fmt.Errorf("connect to %s: %w", addr, err)
	}
	// A context that ends must also end a read that waits for a silent peer.
	stop := context.AfterFunc(ctx, func() { nc.SetDeadline(time.Unix(1, 0)) })
	if o.TLS != nil {
		nc = tls.Client(nc, tlsConfig(o.TLS, addr))
	}
	p, err := sayHello(nc, o)
	if !stop() && err == nil {
		err = ctx.Err()
	}
	if err != nil {
		nc.Close()
		if errors.Is(err, os.ErrDeadlineExceeded) {
			err = ctx.Err()
		}
		return nil, peer{}, fmt.Errorf("connect to %s: %w", addr, err)
	}
	return nc, p, nil
}

func tlsConfig(c *tls.Config, addr string) *tls.Config {
	if c.ServerName != "" || c.InsecureSkipVerify {
		return c
	}
	c = c.Clone()
	if host, _, err := net.SplitHostPort(addr); err == nil {
		c.ServerName = host
	}
	return c
}

func sayHello(nc net.Conn, o *Options) (peer, error) {
	hello := wire.Hello{
		MinVersion:  wire.ProtocolVersion,
		MaxVersion:  wire.ProtocolVersion,
		Compression: o.compression(),
		Key:         []byte(o.Key),
	}
	frame := hello.Append(make([]byte, wire.HeaderSize, 256))
	wire.Header{Body: len(frame) - wire.HeaderSize, Kind: wire.KindHello}.Put(frame)
	if _, err := nc.Write(frame); err != nil {
		return peer{}, err
	}
	var head [wire.HeaderSize]byte
	if _, err := io.ReadFull(nc, head[:]); err != nil {
		return peer{}, fmt.Errorf("no answer to hello: %w", err)
	}
	h, err := wire.ParseHeader(head[:], maxWelcome)
	if err != nil || h.Kind != wire.KindHello || h.Flags&wire.FlagAnswer == 0 {
		return peer{}, errors.New("the other side does not speak Usher's protocol: is this a node's binary listener?")
	}
	body := make([]byte, h.Body)
	if _, err := io.ReadFull(nc, body); err != nil {
		return peer{}, fmt.Errorf("no answer to hello: %w", err)
	}
	return readWelcome(h, body)
}

func readWelcome(h wire.Header, body []byte) (peer, error) {
	if h.Status != wire.StatusOK {
		e := &Error{Op: "hello", Status: h.Status}
		e.explain(body)
		return peer{}, e
	}
	var w wire.Welcome
	if err := w.Decode(body); err != nil {
		return peer{}, fmt.Errorf("answer to hello: %w", err)
	}
	if w.Version != wire.ProtocolVersion {
		return peer{}, fmt.Errorf("answer to hello: the node chose protocol version %d, offered was %d", w.Version, wire.ProtocolVersion)
	}
	if w.MaxInFlight == 0 {
		return peer{}, errors.New("answer to hello: the node accepts no requests")
	}
	return peer{
		node:        string(w.Node),
		cluster:     w.Cluster,
		maxInFlight: int(min(w.MaxInFlight, maxInFlight)),
		compression: w.Compression,
	}, nil
}

// unzip inflates a compressed answer. What it inflates to is bounded like any
// answer: a short body must not become an endless one.
func unzip(body []byte) ([]byte, error) {
	z, err := gzip.NewReader(bytes.NewReader(body))
	if err != nil {
		return nil, fmt.Errorf("compressed answer: %w", err)
	}
	plain, err := io.ReadAll(io.LimitReader(z, wire.MaxAnswerBody+1))
	if err != nil {
		return nil, fmt.Errorf("compressed answer: %w", err)
	}
	if len(plain) > wire.MaxAnswerBody {
		return nil, fmt.Errorf("compressed answer inflates to more than %d bytes", wire.MaxAnswerBody)
	}
	return plain, nil
}
