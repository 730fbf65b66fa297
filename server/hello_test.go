package server

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/binary"
	"strings"
	"testing"

	"github.com/usher-seats/usher/wire"
)

// TestHello proves that a welcome says all that a client needs, and which
// algorithm is chosen of those it can read.
func TestHello(t *testing.T) {
	n := startNode(t, func(c *Config) { c.Node, c.MaxInFlight = "here", 77 })
	for _, c := range []struct{ offer, want wire.Compression }{
		{wire.CompressNone, wire.CompressNone},
		{wire.CompressGzip, wire.CompressGzip},
		{wire.CompressGzip | wire.CompressS2, wire.CompressS2},
		{wire.CompressGzip | wire.CompressS2 | wire.CompressZstd, wire.CompressZstd},
		{1 << 7, wire.CompressNone}, // of a later version
	} {
		w := connect(t, n.Addr()).welcome(hello("", c.offer))
		if w.Compression != c.want {
			t.Errorf("offered %d, got %d, want %d", c.offer, w.Compression, c.want)
		}
		if w.Version != wire.ProtocolVersion || w.MaxInFlight != 77 || string(w.Node) != "here" || w.Cluster != n.table().Cluster() || !w.Cluster.Valid() {
			t.Errorf("welcome is %+v", w)
		}
	}
	// A client of the next version, too, may speak this one.
	connect(t, n.Addr()).welcome(&wire.Hello{MinVersion: 0, MaxVersion: wire.ProtocolVersion + 1})
}

// TestRefusedHello proves that whoever does not say a proper hello is told why
// in a frame and then disconnected without a reset, however little of a hello it
// was.
func TestRefusedHello(t *testing.T) {
	n := startNode(t, nil)
	frame := func(k wire.Kind, body []byte) []byte {
		return append(wire.Header{Body: len(body), Kind: k, Request: 9}.Append(nil), body...)
	}
	good := hello("", wire.CompressNone).Append(nil)
	for _, c := range []struct {
		name  string
		bytes []byte
		want  wire.Status
		text  string
	}{
		{"another protocol", []byte("GET / HTTP/1.1\r\nHost: here\r\n\r\n"), wire.StatusBadFrame, "hello"},
		{"a request before hello", frame(wire.KindPing, nil), wire.StatusBadFrame, "hello"},
		{"wrong magic", frame(wire.KindHello, append([]byte("USHA"), good[4:]...)), wire.StatusBadFrame, "hello"},
		{"empty hello", frame(wire.KindHello, nil), wire.StatusBadFrame, "hello"},
		{"short hello", frame(wire.KindHello, good[:len(good)-1]), wire.StatusBadFrame, "short"},
		{"long hello", frame(wire.KindHello, append(good[:len(good):len(good)], 0)), wire.StatusBadFrame, "after its last field"},
		{"huge hello", frame(wire.KindHello, make([]byte, maxHello+1)), wire.StatusBadFrame, "limit"},
		{"length below a header", []byte{3, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0}, wire.StatusBadFrame, "below"},
		{"later versions only", frame(wire.KindHello, (&wire.Hello{MinVersion: 2, MaxVersion: 9}).Append(nil)), wire.StatusBadVersion, "speaks version 1"},
		{"earlier versions only", frame(wire.KindHello, (&wire.Hello{}).Append(nil)), wire.StatusBadVersion, "0 to 0"},
	} {
		t.Run(c.name, func(t *testing.T) {
			p := connect(t, n.Addr())
			// What follows must not turn the goodbye into a reset.
			p.write(append(c.bytes, bytes.Repeat([]byte{0xff}, 64<<10)...))
			h, body := p.receive()
			if h.Kind != wire.KindHello || h.Status != c.want || !strings.Contains(string(body), c.text) {
				t.Errorf("%v %q, want %v with %q", h.Status, body, c.want, c.text)
			}
			p.ended()
		})
	}
}

// TestHelloByteByByte proves that frames need not arrive in one piece.
func TestHelloByteByByte(t *testing.T) {
	n := startNode(t, nil)
	p := connect(t, n.Addr())
	for _, b := range append(p.frame(wire.KindHello, 0, hello("", 0).Append(nil)), p.frame(wire.KindPing, 0, []byte("x"))...) {
		p.write([]byte{b})
	}
	if h, body := p.receive(); h.Kind != wire.KindHello || h.Status != wire.StatusOK {
		t.Fatalf("hello: %v %q", h.Status, body)
	}
	if h, body := p.receive(); h.Kind != wire.KindPing || string(body) != "x" {
		t.Fatalf("ping: %v %q", h.Status, body)
	}
}

// storeKey adds an API key the way an operator does.
func storeKey(t *testing.T, n *Node, name, key string, role wire.Role) {
	t.Helper()
	op := wire.AddKey{Mutation: wire.Mutation{ID: n.newID(0)}, Name: []byte(name), Hash: sha256.Sum256([]byte(key)), Role: role}
	if s, text := n.do(t.Context(), wire.Record{Kind: wire.KindAddKey, Body: op.Append(nil)}); s != wire.StatusOK {
		t.Fatalf("add key %s: %v %s", name, s, text)
	}
}

// TestKeys proves that as soon as there are keys only they open connections,
// that each opens what its role includes, and that a dropped key is worth
// nothing on connections that are open.
func TestKeys(t *testing.T) {
	n := startNode(t, nil)
	before := dial(t, n)
	storeKey(t, n, "boss", "the operator's own secret", wire.RoleOperate)
	storeKey(t, n, "till", "the till's own secret", wire.RoleSell)
	storeKey(t, n, "wall", "the map's own secret", wire.RoleRead)

	before.want(wire.StatusUnauthorized, wire.KindPing, nil)
	for _, key := range []string{"", "guess"} {
		p := connect(t, n.Addr())
		if s, body := p.ask(wire.KindHello, 0, hello(key, 0).Append(nil)); s != wire.StatusUnauthorized || !strings.Contains(string(body), "API key") {
			t.Errorf("key %q: %v %q", key, s, body)
		}
		p.ended()
	}
	peers := map[wire.Role]*peer{}
	for role, key := range map[wire.Role]string{wire.RoleOperate: "the operator's own secret", wire.RoleSell: "the till's own secret", wire.RoleRead: "the map's own secret"} {
		peers[role] = connect(t, n.Addr())
		peers[role].welcome(hello(key, 0))
	}
	for kind, rule := range kindRules {
		if rule.way == wayUnknown || rule.way == wayBatch {
			continue
		}
		for role, p := range peers {
			s, body := p.ask(wire.Kind(kind), 0, make([]byte, 3)) // too short for all but ping
			if forbidden := s == wire.StatusForbidden; forbidden != (role < rule.role) {
				t.Errorf("kind %d with role %v: %v %q", kind, role, s, body)
			}
		}
	}
	drop := wire.DropKey{Mutation: wire.Mutation{ID: n.newID(0)}, Name: []byte("till")}
	peers[wire.RoleOperate].want(wire.StatusOK, wire.KindDropKey, drop.Append(nil))
	peers[wire.RoleSell].want(wire.StatusUnauthorized, wire.KindHold, nil)
	peers[wire.RoleRead].want(wire.StatusOK, wire.KindPing, nil)
}

// TestTooManyConnections proves that a connection beyond the limit is told so,
// and that there is room again when one has gone.
func TestTooManyConnections(t *testing.T) {
	n := startNode(t, func(c *Config) { c.MaxConns = 2 })
	first, second := dial(t, n), dial(t, n)
	third := connect(t, n.Addr())
	h, body := third.receive()
	if h.Status != wire.StatusOverloaded || !strings.Contains(string(body), "2 connections") {
		t.Fatalf("the third connection: %v %q", h.Status, body)
	}
	third.nc.Close()
	first.nc.Close()
	for { // the node notices in its own time
		p := connect(t, n.Addr())
		p.write(p.frame(wire.KindHello, 0, hello("", 0).Append(nil)))
		if h, _, err := p.next(); err == nil && h.Status == wire.StatusOK {
			break
		}
		p.nc.Close()
	}
	second.want(wire.StatusOK, wire.KindPing, nil)
}

// TestUnsafeListeners proves that a node does not listen beyond loopback by
// accident: not without TLS, and not without a key.
func TestUnsafeListeners(t *testing.T) {
	cert, key := writeCertificate(t)
	for _, c := range []struct {
		name   string
		config Config
		want   string
	}{
		{"binary", Config{Listen: ":0"}, "without TLS"},
		{"http", Config{HTTP: "0.0.0.0:0"}, "without TLS"},
		{"admin", Config{Admin: "[::]:0"}, "without TLS"},
		{"no keys", Config{Listen: ":0", TLSCert: cert, TLSKey: key}, "without any API key"},
	} {
		c.config.Data = t.TempDir()
		for _, addr := range []*string{&c.config.Listen, &c.config.HTTP, &c.config.Admin} {
			setDefault(addr, Off)
		}
		n, err := Start(t.Context(), c.config)
		if err == nil {
			closeNode(t, n)
			t.Errorf("%s: the node started", c.name)
			continue
		}
		if !strings.Contains(err.Error(), c.want) || !strings.Contains(err.Error(), "--insecure") {
			t.Errorf("%s: %v", c.name, err)
		}
	}
	n := startNode(t, func(c *Config) { c.Listen, c.Insecure = "0.0.0.0:0", true })
	dial(t, n).want(wire.StatusOK, wire.KindPing, nil)
}

// TestTLS proves that with a certificate and the operator's key from a file the
// node serves the network, encrypted and for nobody else.
func TestTLS(t *testing.T) {
	cert, key := writeCertificate(t)
	secret := "correct horse battery staple"
	n := startNode(t, func(c *Config) {
		c.Listen, c.TLSCert, c.TLSKey = "0.0.0.0:0", cert, key
		c.OperatorKeyFile = writeFile(t, "operator.key", []byte(secret+"\n"))
	})
	p := connectTLS(t, n.Addr(), cert)
	p.welcome(hello(secret, wire.CompressNone))
	p.want(wire.StatusOK, wire.KindPing, []byte("over TLS"))
	p.want(wire.StatusBadFrame, wire.KindAssign, nil)

	stranger := connectTLS(t, n.Addr(), cert)
	if s, _ := stranger.ask(wire.KindHello, 0, hello("", 0).Append(nil)); s != wire.StatusUnauthorized {
		t.Errorf("without a key: %v", s)
	}
	stranger.ended()

	// Whoever does not speak TLS gets no answer in the clear.
	plain := connect(t, n.Addr())
	plain.write(plain.frame(wire.KindHello, 0, hello(secret, 0).Append(nil)))
	if h, _, err := plain.next(); err == nil {
		t.Errorf("answered in the clear: %v", h)
	}
}

// TestOperatorKeyFile proves that a key that could be guessed is refused, and
// that the file counts only as long as there are no keys.
func TestOperatorKeyFile(t *testing.T) {
	short := Config{Data: t.TempDir(), Listen: Off, HTTP: Off, Admin: Off, Peer: "127.0.0.1:0", OperatorKeyFile: writeFile(t, "short", []byte("secret"))}
	if n, err := Start(t.Context(), short); err == nil {
		closeNode(t, n)
		t.Error("a key of six bytes was accepted")
	}
	c := Config{Data: t.TempDir(), OperatorKeyFile: writeFile(t, "first", []byte("the first operator key"))}
	n := startOn(t, c)
	closeNode(t, n)
	c.OperatorKeyFile = writeFile(t, "second", []byte("the second operator key"))
	n = startOn(t, c)
	if role, ok := n.role([]byte("the first operator key")); !ok || role != wire.RoleOperate {
		t.Errorf("the first key: %v %v", role, ok)
	}
	if _, ok := n.role([]byte("the second operator key")); ok {
		t.Error("the second key was stored although there was one")
	}
}

// TestStart proves that a node finds its cluster again, that the number of its
// shards cannot be changed by a flag, and that two nodes cannot share a
// directory.
func TestStart(t *testing.T) {
	c := Config{Data: t.TempDir(), Shards: 3}
	n := startOn(t, c)
	cluster := n.table().Cluster()
	if n.table().Shards() != 3 || len(n.groups.Load().byID) != 4 {
		t.Errorf("the cluster has %d shards in %d groups", n.table().Shards(), len(n.groups.Load().byID))
	}
	ctx, cancel := context.WithTimeout(t.Context(), testPatience)
	defer cancel()
	if second, err := Start(ctx, Config{Data: c.Data, Listen: Off, HTTP: Off, Admin: Off, Peer: "127.0.0.1:0"}); err == nil {
		closeNode(t, second)
		t.Error("a second node started on the same directory")
	}
	closeNode(t, n)
	wrong := c
	wrong.Shards, wrong.Listen, wrong.HTTP, wrong.Admin = 5, Off, Off, Off
	if second, err := Start(ctx, wrong); err == nil || !strings.Contains(err.Error(), "has 3 shards") {
		if err == nil {
			closeNode(t, second)
		}
		t.Errorf("started with another number of shards: %v", err)
	}
	c.Shards = 0
	if n = startOn(t, c); n.table().Cluster() != cluster || n.table().Shards() != 3 {
		t.Errorf("after a restart the cluster is %v with %d shards, was %v with 3", n.table().Cluster(), n.table().Shards(), cluster)
	}
}

// lengthOnly is a header that announces a body of n bytes.
func lengthOnly(n uint32) []byte {
	return append(binary.LittleEndian.AppendUint32(nil, wire.HeaderSize-4+n), make([]byte, wire.HeaderSize-4)...)
}
