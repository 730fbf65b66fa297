package raftlog

import (
	"bytes"
	"crypto/rand"
	"crypto/tls"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"unicode"
	"unicode/utf8"
)

// How a connection begins, in plaintext or inside TLS, little-endian:
//
//	listener: 8 magic · u16 version · 16 challenge
//	dialer:   u16 length of what follows · 16 challenge · 16 cluster · 16 incarnation
//	          · u8 purpose · u8+… its node · u8+… the node it wants, empty: any
//	listener: u8 0 · u16 length of what follows · 16 cluster · 16 incarnation · u8+… its node
//	      or  u8 1 · u16 length · why not, one line of text
//
// The challenge is random and makes a hello good for one connection only.
const (
	helloMagic   = "USHER-P\n"
	helloVersion = 1
	greetingSize = 8 + 2 + 16
	helloFixed   = 16 + 16 + 16 + 1
	maxHello     = helloFixed + 2*(1+maxName)
	maxWelcome   = 1024 // bytes
)

// purpose says what a connection is for.
type purpose uint8

const (
	forStream   purpose = 1 // messages of raft and calls, for as long as it lasts
	forCall     purpose = 2 // one call
	forSnapshot purpose = 3 // one snapshot
)

var (
	errStaleHello   = errors.New("stale hello: it answers the challenge of another connection")
	errNotPeer      = errors.New("what answers there does not speak usher's protocol between nodes, or not without TLS")
	errHelloInvalid = errors.New("the hello cannot be read")
)

// A hello is what a dialer says first. Immutable.
type hello struct {
	PeerHello
	challenge [16]byte
	purpose   purpose
	want      string // the node that is to answer; "": whoever it is
}

func (h *hello) append(b []byte) []byte {
	n := helloFixed + 2 + len(h.Node) + len(h.want)
	b = binary.LittleEndian.AppendUint16(b, uint16(n))
	b = append(b, h.challenge[:]...)
	b = append(b, h.Cluster[:]...)
	b = append(b, h.Incarnation[:]...)
	b = append(b, uint8(h.purpose))
	b = appendShort(b, h.Node)
	return appendShort(b, h.want)
}

func decodeHello(b []byte) (h hello, err error) {
	r := &peerReader{b: b}
	h.challenge, h.Cluster, h.Incarnation = r.id(), r.id(), r.id()
	h.purpose = purpose(r.u8())
	h.Node, h.want = string(r.short()), string(r.short())
	if err := r.finish(); err != nil {
		return h, fmt.Errorf("%w: %w", errHelloInvalid, err)
	}
	if h.purpose < forStream || h.purpose > forSnapshot {
		return h, fmt.Errorf("%w: unknown purpose %d", errHelloInvalid, h.purpose)
	}
	if err := checkName(h.Node); err != nil {
		return h, fmt.Errorf("%w: %w", errHelloInvalid, err)
	}
	return h, nil
}

// checkName keeps names out that would not look like one in a log, or could be
// taken for a replica's.
func checkName(name string) error {
	if name == "" || len(name) > maxName || !utf8.ValidString(name) {
		return fmt.Errorf("a node's name has 1 to %d bytes of UTF-8, not %q", maxName, name)
	}
	for _, r := range name {
		if !unicode.IsGraphic(r) || unicode.IsSpace(r) || r == '@' {
			return fmt.Errorf("the name %q has a character that no node's name may have: %q", name, r)
		}
	}
	return nil
}

// A welcome is the listener's answer. Immutable.
type welcome struct {
	PeerHello
	refusal string // not empty: why not
}

func (w *welcome) append(b []byte) []byte {
	var body []byte
	status := uint8(0)
	if w.refusal != "" {
		status, body = 1, []byte(oneLine(w.refusal))
	} else {
		body = append(body, w.Cluster[:]...)
		body = append(body, w.Incarnation[:]...)
		body = appendShort(body, w.Node)
	}
	b = append(b, status)
	b = binary.LittleEndian.AppendUint16(b, uint16(len(body)))
	return append(b, body...)
}

func decodeWelcome(status uint8, b []byte) (w welcome, err error) {
	if status == 1 && len(b) > 0 {
		return welcome{refusal: oneLine(string(b))}, nil
	}
	if status != 0 {
		return w, errNotPeer
	}
	r := &peerReader{b: b}
	w.Cluster, w.Incarnation, w.Node = r.id(), r.id(), string(r.short())
	if err := r.finish(); err != nil {
		return w, fmt.Errorf("%w: %w", errNotPeer, err)
	}
	return w, checkName(w.Node)
}

// invite is the listener's part up to the hello. Nothing in it has been checked
// but the challenge.
func invite(conn net.Conn) (h hello, err error) {
	var challenge [16]byte
	if _, err := rand.Read(challenge[:]); err != nil {
		return h, err
	}
	greeting := append([]byte(helloMagic), helloVersion, 0)
	if _, err := conn.Write(append(greeting, challenge[:]...)); err != nil {
		return h, err
	}
	var length [2]byte
	if _, err := io.ReadFull(conn, length[:]); err != nil {
		return h, fmt.Errorf("no hello came: %w", err)
	}
	n := binary.LittleEndian.Uint16(length[:])
	if n > maxHello {
		return h, fmt.Errorf("%w: it has %d bytes, at most %d are allowed", errHelloInvalid, n, maxHello)
	}
	body := make([]byte, n)
	if _, err := io.ReadFull(conn, body); err != nil {
		return h, fmt.Errorf("the hello broke off: %w", err)
	}
	if h, err = decodeHello(body); err == nil && h.challenge != challenge {
		err = errStaleHello
	}
	return h, err
}

// introduce is the dialer's part: it says h and returns who answered.
func introduce(conn net.Conn, h hello) (PeerHello, error) {
	var greeting [greetingSize]byte
	if _, err := io.ReadFull(conn, greeting[:]); err != nil {
		if _, secured := conn.(*tls.Conn); !secured {
			err = fmt.Errorf("%w: it may want TLS, and this node was given no certificate between nodes", err)
		}
		return PeerHello{}, fmt.Errorf("no greeting came: %w", err)
	}
	if !bytes.Equal(greeting[:8], []byte(helloMagic)) {
		return PeerHello{}, errNotPeer
	}
	if v := binary.LittleEndian.Uint16(greeting[8:]); v != helloVersion {
		return PeerHello{}, fmt.Errorf("it speaks version %d between nodes, this node version %d", v, helloVersion)
	}
	h.challenge = [16]byte(greeting[10:])
	if _, err := conn.Write(h.append(nil)); err != nil {
		return PeerHello{}, err
	}
	var head [3]byte
	if _, err := io.ReadFull(conn, head[:]); err != nil {
		return PeerHello{}, fmt.Errorf("no answer to the hello: %w", err)
	}
	n := binary.LittleEndian.Uint16(head[1:])
	if n > maxWelcome {
		return PeerHello{}, errNotPeer
	}
	body := make([]byte, n)
	if _, err := io.ReadFull(conn, body); err != nil {
		return PeerHello{}, fmt.Errorf("the answer to the hello broke off: %w", err)
	}
	w, err := decodeWelcome(head[0], body)
	if err == nil && w.refusal != "" {
		err = &PeerError{Node: conn.RemoteAddr().String(), Text: w.refusal}
	}
	return w.PeerHello, err
}

// me is what this node says about itself.
func (p *Peers) me() PeerHello {
	return PeerHello{Cluster: p.c.Cluster(), Node: p.c.Node, Incarnation: p.c.Incarnation}
}

// judge decides whether a dialer is welcome.
func (p *Peers) judge(conn net.Conn, h hello) error {
	me := p.me()
	switch {
	case h.want != "" && h.want != me.Node:
		return fmt.Errorf("this is %s, not %s", me.Node, h.want)
	case h.Node == me.Node && h.Incarnation == me.Incarnation:
		return fmt.Errorf("this is %s itself: name another node's address", me.Node)
	case h.Node == me.Node:
		return fmt.Errorf("%s is the name of this node: give the other one a name of its own", me.Node)
	}
	if err := sameCluster(me, h.PeerHello); err != nil {
		return err
	}
	if err := certifies(conn, h.Node); err != nil {
		return err
	}
	return p.c.Admit(h.PeerHello)
}

// sameCluster compares the clusters of two nodes; one may be in none yet.
func sameCluster(a, b PeerHello) error {
	var none [16]byte
	if a.Cluster != b.Cluster && a.Cluster != none && b.Cluster != none {
		return fmt.Errorf("%s is in cluster %x, %s in %x", a.Node, a.Cluster, b.Node, b.Cluster)
	}
	return nil
}

// accepts checks who answered a hello.
func (p *Peers) accepts(conn net.Conn, h hello, w PeerHello) error {
	if h.want != "" && w.Node != h.want {
		return fmt.Errorf("%s answers there, not %s", w.Node, h.want)
	}
	if err := sameCluster(h.PeerHello, w); err != nil {
		return err
	}
	return certifies(conn, w.Node)
}
