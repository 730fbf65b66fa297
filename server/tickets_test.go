package server

import (
	"encoding/base64"
	"net/http"
	"strings"
	"testing"

	"github.com/usher-seats/usher/server/directory"
	"github.com/usher-seats/usher/wire"
)

// secret is a signing key for tests.
func secret(id uint32) directory.SigningKey {
	k := directory.SigningKey{ID: id}
	for i := range k.Secret {
		k.Secret[i] = byte(id)*31 + byte(i)
	}
	return k
}

// TestTicketFaults proves that every way in which a ticket can be wrong is refused,
// each in its own words.
func TestTicketFaults(t *testing.T) {
	const room, other = 77, 78
	good := newSigner([]directory.SigningKey{secret(4), secret(3)})
	mine := token{kind: tokenNumber, room: room, number: 12}
	ticket := string(good.sign(nil, mine))
	pass := string(good.sign(nil, token{kind: tokenPass, room: room, number: 99, expiry: 5000}))

	// altered changes one byte of what is signed, or of the signature.
	altered := func(at int, to byte) string {
		raw, err := base64.RawURLEncoding.DecodeString(ticket)
		if err != nil {
			t.Fatal(err)
		}
		raw[at] = to
		return base64.RawURLEncoding.EncodeToString(raw)
	}
	// respelt has other bits where a spelling carries none.
	respelt := ticket[:tokenChars-1] + string(ticket[tokenChars-1]+1)

	for _, c := range []struct {
		name, text string
		as         *signer
		want       string // code
		says       string
	}{
		{name: "good", text: ticket},
		{name: "signed with the key before", text: string(newSigner([]directory.SigningKey{secret(3)}).sign(nil, mine))},
		{name: "empty", text: "", want: "malformed", says: "has 0"},
		{name: "short", text: ticket[1:], want: "malformed", says: "62 characters"},
		{name: "long", text: ticket + "A", want: "malformed", says: "has 63"},
		{name: "padded", text: ticket[:tokenChars-2] + "==", want: "malformed", says: "letters"},
		{name: "standard alphabet", text: "+" + ticket[1:], want: "malformed", says: "letters"},
		{name: "line break", text: ticket[:10] + "\n" + ticket[11:], want: "malformed", says: "letters"},
		{name: "other spelling", text: respelt, want: "malformed", says: "letters"},
		{name: "version", text: altered(0, 2), want: "version", says: "version"},
		{name: "kind made an entry", text: altered(1, byte(tokenEntry)), want: "forged", says: "signature"},
		{name: "kind made a pass", text: altered(1, byte(tokenPass)), want: "forged", says: "signature"},
		{name: "better number", text: altered(14, 3), want: "forged", says: "signature"},
		{name: "room changed", text: altered(6, other), want: "forged", says: "signature"},
		{name: "expiry given", text: altered(22, 1), want: "forged", says: "signature"},
		{name: "signature changed", text: altered(tokenBytes-1, 0), want: "forged", says: "signature"},
		{name: "signed by a stranger", text: string(newSigner([]directory.SigningKey{{ID: 4}}).sign(nil, mine)), want: "forged", says: "signature"},
		{name: "another good key's id", text: altered(2, 3), want: "forged", says: "signature"},
		{name: "retired key", text: string(newSigner([]directory.SigningKey{secret(2)}).sign(nil, mine)), want: "key_retired", says: "join again"},
		{name: "key of tomorrow", text: string(newSigner([]directory.SigningKey{secret(5)}).sign(nil, mine)), want: "key_unknown", says: "in a second"},
		{name: "pass for a ticket", text: pass, want: "kind", says: "this is a pass"},
		{name: "kind unheard of", text: string(good.sign(nil, token{kind: 9, room: room})), want: "kind", says: "does not know"},
	} {
		t.Run(c.name, func(t *testing.T) {
			got, fault := good.ticket([]byte(c.text))
			checkFault(t, fault, c.want, c.says)
			if fault == nil && got != mine {
				t.Errorf("read %+v, signed %+v", got, mine)
			}
		})
	}

	for _, c := range []struct {
		name, text string
		now        wire.Millis
		want, says string
	}{
		{name: "good", text: pass, now: 4999},
		{name: "over for a moment", text: pass, now: 5000 + passSlack - 1},
		{name: "over for long", text: pass, now: 5000 + passSlack, want: "ended", says: "over"},
		{name: "ticket for a pass", text: ticket, now: 0, want: "kind", says: "this is a ticket"},
		{name: "malformed", text: "x", now: 0, want: "malformed", says: "has 1"},
	} {
		t.Run("pass/"+c.name, func(t *testing.T) {
			_, fault := good.pass(c.now, []byte(c.text))
			checkFault(t, fault, c.want, c.says)
		})
	}
}

func checkFault(t *testing.T, fault *tokenFault, code, says string) {
	t.Helper()
	switch {
	case fault == nil && code != "":
		t.Errorf("accepted, want %q", code)
	case fault != nil && (fault.code != code || !strings.Contains(fault.text, says)):
		t.Errorf("%q: %s; want %q, with %q", fault.code, fault.text, code, says)
	}
}

// TestTicketBits proves that a ticket of which any bit was changed is refused.
func TestTicketBits(t *testing.T) {
	s := newSigner([]directory.SigningKey{secret(1)})
	ticket := s.sign(nil, token{kind: tokenEntry, room: 1, number: 2})
	for bit := range 8 * tokenBytes {
		raw, err := base64.RawURLEncoding.DecodeString(string(ticket))
		if err != nil {
			t.Fatal(err)
		}
		raw[bit/8] ^= 1 << (bit % 8)
		if got, fault := s.read(base64.RawURLEncoding.AppendEncode(nil, raw)); fault == nil {
			t.Errorf("bit %d changed: accepted as %+v", bit, got)
		}
	}
}

// TestTicketRotation proves that what was signed before the last change of keys is
// good, and what was signed before the one before it is not; and that new tickets
// are signed with the newest key.
func TestTicketRotation(t *testing.T) {
	site := newSite(t, nil)
	n := site.n
	want := token{kind: tokenNumber, room: 5, number: 1}
	first := n.signer().sign(nil, want)
	if s := n.signer(); s != n.signer() {
		t.Error("a signer is made anew although the keys are the same")
	}
	rotate := func() {
		t.Helper()
		site.post("/admin/signing-keys", nil).ok(http.StatusOK)
	}
	rotate()
	if got, fault := n.signer().ticket(first); fault != nil || got != want {
		t.Errorf("after one change of keys: %+v, %v", got, fault)
	}
	second := n.signer().sign(nil, want)
	if string(second) == string(first) {
		t.Error("the new key signs nothing")
	}
	rotate()
	if _, fault := n.signer().ticket(first); fault != faultOld {
		t.Errorf("after two changes of keys: %v, want %v", fault, faultOld)
	}
	if _, fault := n.signer().ticket(second); fault != nil {
		t.Errorf("the key before: %v", fault)
	}
}

// FuzzToken proves that no text makes a reader of tokens fail, and that what is
// accepted is what would be signed.
func FuzzToken(f *testing.F) {
	s := newSigner([]directory.SigningKey{secret(1)})
	f.Add(s.sign(nil, token{kind: tokenEntry, room: 1, number: 2}))
	f.Add(s.sign(nil, token{kind: tokenPass, room: 1 << 63, number: 1<<64 - 1, expiry: 1 << 40}))
	f.Add([]byte(""))
	f.Add([]byte(strings.Repeat("A", tokenChars)))
	f.Add([]byte(strings.Repeat("\n", tokenChars)))
	f.Fuzz(func(t *testing.T, text []byte) {
		got, fault := s.read(text)
		switch {
		case fault != nil && (fault.code == "" || fault.text == ""):
			t.Errorf("%q is refused without a word", text)
		case fault == nil && string(s.sign(nil, got)) != string(text):
			t.Errorf("%q is read as %+v, which is signed %q", text, got, s.sign(nil, got))
		}
	})
}

func BenchmarkTokenSign(b *testing.B) {
	s := newSigner([]directory.SigningKey{secret(1)})
	buf := make([]byte, 0, tokenChars)
	b.ReportAllocs()
	for b.Loop() {
		buf = s.sign(buf[:0], token{kind: tokenNumber, room: 1, number: uint64(b.N)})
	}
}

func BenchmarkTokenRead(b *testing.B) {
	s := newSigner([]directory.SigningKey{secret(1)})
	text := s.sign(nil, token{kind: tokenNumber, room: 1, number: 2})
	b.ReportAllocs()
	for b.Loop() {
		if _, fault := s.read(text); fault != nil {
			b.Fatal(fault)
		}
	}
}
