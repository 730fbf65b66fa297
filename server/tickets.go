package server

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"fmt"
	"hash"
	"slices"
	"sync"

	"github.com/usher-seats/usher/server/directory"
	"github.com/usher-seats/usher/wire"
)

// A token is what a visitor of a waiting room carries: a number that a shard has
// given out, or a pass that it has granted, signed by the node that he got it from.
// No node remembers it. It proves where a number comes from and nothing else: what
// has become of the number, Apply decides.
//
//	version  u8   tokenVersion
//	kind     u8
//	key      u32  id of the signing key
//	room     u64
//	number   u64  the entry or queue number; of a pass, its id
//	expiry   u64  event time at which a pass ends; 0 in a ticket
//	mac      16 bytes of HMAC-SHA256 over all of the above
//
// All little-endian, written as base64url without padding. The length is fixed and
// the algorithm goes with the version: a token cannot choose by what it is checked.
type token struct {
	kind   tokenKind
	room   wire.RoomID
	number uint64
	expiry wire.Millis
}

type tokenKind uint8

const (
	tokenEntry  tokenKind = 1 // a number in the draw
	tokenNumber tokenKind = 2 // a number in the queue
	tokenPass   tokenKind = 3
)

const (
	tokenVersion = 1
	tokenSigned  = 1 + 1 + 4 + 8 + 8 + 8 // bytes that the signature covers
	tokenMAC     = 16
	tokenBytes   = tokenSigned + tokenMAC
	tokenChars   = (tokenBytes*8 + 5) / 6
)

// tokenText is strict: bits that carry nothing are zero, so every token has one
// spelling. The id of a pass is a hash of its ticket's spelling.
var tokenText = base64.RawURLEncoding.Strict()

// A tokenFault is why a token is refused. Its code is stable.
type tokenFault struct {
	code string
	text string // what to do
}

func (f *tokenFault) Error() string { return f.text }

var (
	faultVersion = &tokenFault{"version", "this ticket is of a version that this node does not read: send it to a node of the release that signed it, or join again"}
	faultKind    = &tokenFault{"kind", "this is of a kind that this node does not know, although it is signed: send it to a node of the release that signed it"}
	faultPass    = &tokenFault{"kind", "this is a pass; what belongs here is the ticket that it was got with"}
	faultTicket  = &tokenFault{"kind", "this is a ticket; what belongs here is the pass that it is redeemed for when its number is called"}
	faultOld     = &tokenFault{"key_retired", "this ticket was signed with a key that is not good any more, because keys were changed twice since: join again"}
	faultAhead   = &tokenFault{"key_unknown", "this ticket names a signing key that this node does not know: if the key was changed a moment ago, send it again in a second; otherwise it is forged"}
	faultForged  = &tokenFault{"forged", "the signature does not fit: this ticket was changed on its way, or is forged"}
	faultEnded   = &tokenFault{"ended", "this pass is over: join again"}
)

// faultShape says what is not the shape of a token.
func faultShape(text []byte) *tokenFault {
	if len(text) != tokenChars {
		return &tokenFault{"malformed", fmt.Sprintf("this is no ticket: a ticket has %d characters, this has %d", tokenChars, len(text))}
	}
	return &tokenFault{"malformed", "this is no ticket: a ticket consists of letters, digits, - and _, and is not to be changed"}
}

// A signer signs tokens and checks them, with the signing keys that were good when
// it was made. It is immutable and safe for all goroutines.
type signer struct {
	keys []signingKey // the newest first, which is used
}

// A signingKey is one key with its states, which are costly to begin: a used one
// makes half the work.
type signingKey struct {
	id   uint32
	macs *sync.Pool // of hash.Hash
}

func newSigner(good []directory.SigningKey) *signer {
	s := &signer{keys: make([]signingKey, len(good))}
	for i := range good {
		secret := good[i].Secret
		s.keys[i] = signingKey{good[i].ID, &sync.Pool{New: func() any { return hmac.New(sha256.New, secret[:]) }}}
	}
	return s
}

// fits reports whether the signer has these keys. They are numbered in the order in
// which they are stored and never changed.
func (s *signer) fits(good []directory.SigningKey) bool {
	return slices.EqualFunc(s.keys, good, func(k signingKey, g directory.SigningKey) bool { return k.id == g.ID })
}

// signer is the signer of the keys that are good now; nil before the cluster has
// any.
func (n *Node) signer() *signer {
	good := n.table().Signing()
	if len(good) == 0 {
		return nil
	}
	s := n.signing.Load()
	if s == nil || !s.fits(good) {
		s = newSigner(good)
		n.signing.Store(s)
	}
	return s
}

// seal computes the signature of a token's first bytes.
func (k *signingKey) seal(signed []byte) (mac [tokenMAC]byte) {
	h := k.macs.Get().(hash.Hash)
	h.Reset()
	_, _ = h.Write(signed) // a hash never fails
	var sum [sha256.Size]byte
	copy(mac[:], h.Sum(sum[:0]))
	k.macs.Put(h)
	return mac
}

// sign appends a token's text to b.
func (s *signer) sign(b []byte, t token) []byte {
	key := &s.keys[0]
	raw := make([]byte, 0, tokenBytes)
	raw = append(raw, tokenVersion, byte(t.kind))
	raw = binary.LittleEndian.AppendUint32(raw, key.id)
	raw = binary.LittleEndian.AppendUint64(raw, uint64(t.room))
	raw = binary.LittleEndian.AppendUint64(raw, t.number)
	raw = binary.LittleEndian.AppendUint64(raw, uint64(t.expiry))
	mac := key.seal(raw)
	return tokenText.AppendEncode(b, append(raw, mac[:]...))
}

// read checks a token's shape and signature. What it returns was signed by a node
// of this cluster; whether it is for this room, and still counts, is asked next.
func (s *signer) read(text []byte) (t token, fault *tokenFault) {
	var buf [tokenBytes]byte
	if len(text) != tokenChars {
		return t, faultShape(text)
	}
	// The decoder skips line breaks, so a text of the right length can be short.
	if n, err := tokenText.Decode(buf[:], text); err != nil || n != tokenBytes {
		return t, faultShape(text)
	}
	raw := buf[:]
	if raw[0] != tokenVersion {
		return t, faultVersion
	}
	key, fault := s.key(binary.LittleEndian.Uint32(raw[2:]))
	if fault != nil {
		return t, fault
	}
	if mac := key.seal(raw[:tokenSigned]); !hmac.Equal(mac[:], raw[tokenSigned:]) {
		return t, faultForged
	}
	t = token{
		kind:   tokenKind(raw[1]),
		room:   wire.RoomID(binary.LittleEndian.Uint64(raw[6:])),
		number: binary.LittleEndian.Uint64(raw[14:]),
		expiry: wire.Millis(binary.LittleEndian.Uint64(raw[22:])),
	}
	if t.kind < tokenEntry || t.kind > tokenPass {
		return t, faultKind
	}
	return t, nil
}

// key is the good key with that id.
func (s *signer) key(id uint32) (*signingKey, *tokenFault) {
	for i := range s.keys {
		if s.keys[i].id == id {
			return &s.keys[i], nil
		}
	}
	if id > s.keys[0].id {
		return nil, faultAhead
	}
	return nil, faultOld
}

// ticket reads a token that has to be a ticket. Of which room it is, and what has
// become of its number, the shard is asked.
func (s *signer) ticket(text []byte) (token, *tokenFault) {
	t, fault := s.read(text)
	if fault == nil && t.kind == tokenPass {
		fault = faultPass
	}
	return t, fault
}

// passSlack is how long after its end a pass is still sent through the log. A node
// that has led until a moment ago may think that it is later than it is, and Apply
// alone says that a pass is over; what ended long ago is to cost nothing.
const passSlack wire.Millis = 60_000

// pass reads a token that has to be a pass. now is the event's time as far as the
// node knows.
func (s *signer) pass(now wire.Millis, text []byte) (token, *tokenFault) {
	t, fault := s.read(text)
	switch {
	case fault != nil:
		return t, fault
	case t.kind != tokenPass:
		return t, faultTicket
	case t.expiry+passSlack <= now:
		return t, faultEnded
	}
	return t, nil
}
