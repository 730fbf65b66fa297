package raftlog

import (
	"context"
	"crypto/tls"
	"errors"
	"net"
	"slices"
	"strings"
	"testing"
	"time"
)

func callOf(t testing.TB, p *Peers, node string) (string, error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	answer, err := p.Call(ctx, node, []byte("a call"))
	return string(answer), err
}

// A refusal is a connection that must not come about, and why.
type refusal struct {
	name    string
	dialer  func(ca, other *authority, c *PeerConfig) // n0
	listens func(ca, other *authority, c *PeerConfig) // n1
	want    string                                    // whom n0 calls; n1's address is the answer to any name
	here    string                                    // what n0 logs and gets as an error
	there   string                                    // what n1 logs
}

var refusals = []refusal{
	{
		name:    "another cluster",
		listens: func(_, _ *authority, c *PeerConfig) { c.Cluster = func() [16]byte { return [16]byte{0xc2} } },
		here:    "n1 is in cluster c2000000000000000000000000000000, n0 in c1000000000000000000000000000000",
		there:   "n1 is in cluster c2000000000000000000000000000000, n0 in c1000000000000000000000000000000",
	},
	{
		name: "another node's name", want: "n9",
		here: "this is n1, not n9", there: "this is n1, not n9",
	},
	{
		name: "a certificate of another authority",
		dialer: func(ca, other *authority, c *PeerConfig) {
			trust := c.TLS.RootCAs
			c.TLS = other.tls("n0")
			c.TLS.RootCAs = trust
		},
		here: "remote error: tls: unknown certificate authority", there: "certificate signed by unknown authority",
	},
	{
		name: "a listener of another authority",
		listens: func(ca, other *authority, c *PeerConfig) {
			c.TLS = other.tls("n1")
		},
		here: "certificate signed by unknown authority", there: "remote error: tls: bad certificate",
	},
	{
		name:   "a certificate of another node",
		dialer: func(ca, _ *authority, c *PeerConfig) { c.TLS = ca.tls("n7") },
		here:   "the certificate shown is for usher://node/n7, not for usher://node/n0",
		there:  "the certificate shown is for usher://node/n7, not for usher://node/n0",
	},
	{
		name: "not admitted",
		listens: func(_, _ *authority, c *PeerConfig) {
			c.Admit = func(h PeerHello) error { return errors.New("node " + h.Node + " was removed:\nwipe it") }
		},
		here: "node n0 was removed: wipe it", there: "node n0 was removed:",
	},
	{
		name:   "no TLS here",
		dialer: func(_, _ *authority, c *PeerConfig) { c.TLS = nil },
		here:   "this node was given no certificate between nodes", there: "hung up without a word of TLS",
	}, {
		name:    "no TLS there",
		listens: func(_, _ *authority, c *PeerConfig) { c.TLS = nil },
		here:    "first record does not look like a TLS handshake", there: "the hello cannot be read",
	},
}

// TestHelloRefusals proves that a connection that must not be is refused, with
// one line on either side, and that its dialer's error says why and that nothing
// was sent.
func TestHelloRefusals(t *testing.T) {
	ca, other := newAuthority(t), newAuthority(t)
	for _, c := range refusals {
		t.Run(c.name, func(t *testing.T) {
			served := false
			var r *rig
			r = newRig(t, 2, func(i int, conf *PeerConfig) {
				conf.TLS = ca.tls(conf.Node)
				conf.Addr = func(string) string { return r.nodes[1].addr }
				conf.Serve = func(context.Context, PeerHello, []byte) ([]byte, error) { served = true; return nil, nil }
				if tune := []func(_, _ *authority, _ *PeerConfig){c.dialer, c.listens}[i]; tune != nil {
					tune(ca, other, conf)
				}
			})
			want := "n1"
			if c.want != "" {
				want = c.want
			}
			_, err := callOf(t, r.nodes[0].peers, want)
			if !errors.Is(err, ErrUnreachable) || !strings.Contains(err.Error(), c.here) {
				t.Errorf("the call's error is %q, want %q", err, c.here)
			}
			eventually(t, "a line on both sides", func() bool {
				return len(r.nodes[0].logs.with("")) > 0 && len(r.nodes[1].logs.with("")) > 0
			})
			if lines := r.nodes[0].logs.with(""); len(lines) != 1 || !strings.Contains(lines[0], c.here) {
				t.Errorf("the dialer logs %q, want one line with %q", lines, c.here)
			}
			if lines := r.nodes[1].logs.with(""); len(lines) != 1 || !strings.Contains(lines[0], c.there) {
				t.Errorf("the listener logs %q, want one line with %q", lines, c.there)
			}
			if served {
				t.Error("a call was served")
			}
		})
	}
}

// TestHelloWithoutCertificate proves that TLS is mutual.
func TestHelloWithoutCertificate(t *testing.T) {
	ca := newAuthority(t)
	r := newRig(t, 1, func(_ int, c *PeerConfig) { c.TLS = ca.tls(c.Node) })
	conn, err := tls.Dial("tcp", r.nodes[0].addr, &tls.Config{InsecureSkipVerify: true})
	if err == nil {
		defer conn.Close()
		_, err = introduce(conn, hello{PeerHello: PeerHello{Node: "n9"}, purpose: forStream})
	}
	if err == nil || !strings.Contains(err.Error(), "certificate required") {
		t.Errorf("without a certificate: %v", err)
	}
	eventually(t, "a line about it", func() bool {
		return len(r.nodes[0].logs.with("connection of a node refused", "client didn't provide a certificate")) == 1
	})
}

// TestStaleHello proves that recorded bytes of a hello open no connection.
func TestStaleHello(t *testing.T) {
	r := newRig(t, 1, nil)
	h := hello{PeerHello: PeerHello{Node: "n9", Incarnation: [16]byte{9}}, purpose: forStream}
	tape := new(tapeConn)
	dial := func() net.Conn {
		conn, err := net.Dial("tcp", r.nodes[0].addr)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { conn.Close() })
		return conn
	}
	tape.Conn = dial()
	if _, err := introduce(tape, h); err != nil {
		t.Fatal(err)
	}
	// The same again, whatever the challenge is.
	again := &tapeConn{Conn: dial(), play: tape.written}
	_, err := introduce(again, h)
	if err == nil || !strings.Contains(err.Error(), "stale hello") {
		t.Errorf("a hello that was heard before: %v", err)
	}
	eventually(t, "a line about it", func() bool {
		return len(r.nodes[0].logs.with("connection of a node refused", "stale hello", "peer=n9")) == 1
	})
}

// A tapeConn records what is written, or writes what was recorded instead.
type tapeConn struct {
	net.Conn
	written []byte
	play    []byte
}

func (c *tapeConn) Write(b []byte) (int, error) {
	if c.play != nil {
		_, err := c.Conn.Write(c.play)
		return len(b), err
	}
	c.written = append(c.written, b...)
	return c.Conn.Write(b)
}

// TestHelloNoise proves that what is no hello at all is refused, too, and that
// one which is announced longer than any is not read.
func TestHelloNoise(t *testing.T) {
	for name, noise := range map[string]string{
		"too long": "\xff\xff", "too short": "\x01\x00x", "another protocol": "GET / HTTP/1.1\r\n\r\n" + strings.Repeat("x", 0x4547),
	} {
		t.Run(name, func(t *testing.T) {
			r := newRig(t, 1, nil)
			conn, err := net.Dial("tcp", r.nodes[0].addr)
			if err != nil {
				t.Fatal(err)
			}
			defer conn.Close()
			if _, err := conn.Write([]byte(noise)); err != nil {
				t.Fatal(err)
			}
			eventually(t, "a line about it", func() bool {
				return len(r.nodes[0].logs.with("the hello cannot be read")) == 1
			})
		})
	}
}

// TestTLSCarriesAll proves that with TLS and certificates that are right, calls
// pass in both directions, to a name and to an address.
func TestTLSCarriesAll(t *testing.T) {
	ca := newAuthority(t)
	r := newRig(t, 2, func(_ int, c *PeerConfig) { c.TLS = ca.tls(c.Node) })
	for i, n := range r.nodes {
		other := r.nodes[1-i]
		want := other.name + " hears a call from " + n.name
		if answer, err := callOf(t, n.peers, other.name); err != nil || answer != want {
			t.Errorf("%s calls %s: %q, %v", n.name, other.name, answer, err)
		}
		answer, err := n.peers.CallAddr(t.Context(), other.addr, []byte("a call"))
		if err != nil || string(answer) != want {
			t.Errorf("%s calls %s: %q, %v", n.name, other.addr, answer, err)
		}
	}
}

// TestCallAddrRefusals proves that a call to an address, whose node's name is
// not known, checks that the certificate is for whoever answers, and that a node
// that dials itself is told so.
func TestCallAddrRefusals(t *testing.T) {
	ca := newAuthority(t)
	r := newRig(t, 2, func(i int, c *PeerConfig) { c.TLS = ca.tls([]string{"n0", "n7"}[i]) })
	for _, c := range []struct{ addr, want string }{
		{r.nodes[1].addr, "the certificate shown is for usher://node/n7, not for usher://node/n1"},
		{r.nodes[0].addr, "this is n0 itself: name another node's address"},
	} {
		_, err := r.nodes[0].peers.CallAddr(t.Context(), c.addr, nil)
		if !errors.Is(err, ErrUnreachable) || !strings.Contains(err.Error(), c.want) {
			t.Errorf("error is %q, want %q", err, c.want)
		}
	}
}

// TestTakenName proves that two nodes cannot have one name.
func TestTakenName(t *testing.T) {
	r := newRig(t, 2, func(_ int, c *PeerConfig) { c.Node = "n0" })
	_, err := r.nodes[1].peers.CallAddr(t.Context(), r.nodes[0].addr, nil)
	if want := "n0 is the name of this node: give the other one a name of its own"; err == nil || !strings.Contains(err.Error(), want) {
		t.Errorf("error is %q, want %q", err, want)
	}
}

// TestNames proves which names a node may have.
func TestNames(t *testing.T) {
	for name, ok := range map[string]bool{
		"n1": true, "bühne.example": true, strings.Repeat("x", maxName): true,
		"": false, strings.Repeat("x", maxName+1): false, "n1@7": false, "n 1": false, "n1\n": false, "n\x1b1": false, "\xff": false,
	} {
		if err := checkName(name); (err == nil) != ok {
			t.Errorf("%q: %v", name, err)
		}
	}
}

// TestConnectionCap proves that one address cannot take all connections, and
// that closed ones make room.
func TestConnectionCap(t *testing.T) {
	r := newRig(t, 1, nil)
	p := r.nodes[0].peers
	var conns []net.Conn
	defer func() {
		for _, c := range conns {
			c.Close()
		}
	}()
	greeted := func() bool {
		conn, err := net.Dial("tcp", r.nodes[0].addr)
		if err != nil {
			t.Fatal(err)
		}
		conns = append(conns, conn)
		if err := conn.SetReadDeadline(time.Now().Add(patience)); err != nil {
			t.Fatal(err)
		}
		n, _ := conn.Read(make([]byte, greetingSize))
		return n > 0
	}
	for i := range maxInboundPerIP {
		if !greeted() {
			t.Fatalf("connection %d was refused", i)
		}
	}
	if greeted() {
		t.Errorf("connection %d was let in", maxInboundPerIP)
	}
	if lines := r.nodes[0].logs.with("connection of a node refused"); len(lines) != 1 {
		t.Errorf("logged %q", lines)
	}
	for _, c := range conns {
		c.Close()
	}
	eventually(t, "room", func() bool {
		p.mu.Lock()
		defer p.mu.Unlock()
		return len(p.inbound) == 0 && len(p.byIP) == 0
	})
	if !greeted() {
		t.Error("there is no room after all were closed")
	}
}

// TestPeerLogIsQuiet proves that what goes wrong again and again is logged now
// and then, and that strangers cannot make the log remember without bounds.
func TestPeerLogIsQuiet(t *testing.T) {
	l := &peerLog{quiet: make(map[string]time.Time)}
	start := time.Now()
	var lines []int
	for i := range 20 {
		if l.due("n1", start.Add(time.Duration(i)*time.Second)) {
			lines = append(lines, i)
		}
	}
	if want := []int{0, 5, 10, 15}; !slices.Equal(lines, want) {
		t.Errorf("logged in seconds %v, want %v", lines, want)
	}
	for i := range 3 * maxQuiet {
		l.due(strings.Repeat("x", i+1), start)
	}
	if n := len(l.quiet); n > maxQuiet {
		t.Errorf("remembers %d", n)
	}
}
