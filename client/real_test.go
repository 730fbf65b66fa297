package client_test

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"fmt"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/usher-seats/usher/client"
	"github.com/usher-seats/usher/server"
	"github.com/usher-seats/usher/wire"
)

// node starts a node for a test; stop may be called early.
func node(t *testing.T, c server.Config) (addr string, stop func()) {
	t.Helper()
	n, err := server.Start(t.Context(), c)
	if err != nil {
		t.Fatal(err)
	}
	stop = sync.OnceFunc(func() {
		ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
		defer cancel()
		if err := n.Close(ctx); err != nil {
			t.Error(err)
		}
	})
	t.Cleanup(stop)
	return n.Addr(), stop
}

func dial(t *testing.T, addr string, o *client.Options) *client.Client {
	t.Helper()
	c, err := client.Dial(t.Context(), []string{addr}, o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	return c
}

// A node that stops and comes back under load costs time, and neither a hold nor
// a seat: every grant and every booking that was acknowledged is there, each seat
// once, and what was reported as not applied is not.
func TestRestartUnderLoad(t *testing.T) {
	dir := t.TempDir()
	addr, stop := node(t, nodeConfig(dir, "127.0.0.1:0"))
	c := dial(t, addr, nil)
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	ev, err := c.CreateEvent(ctx, hall("restart", 40, 50))
	if err != nil {
		t.Fatal(err)
	}

	const buyers = 32
	var granted atomic.Int64
	var mu sync.Mutex
	booked := map[wire.ID][]wire.SeatID{}
	due := make(chan struct{})
	var all sync.WaitGroup
	for range buyers {
		all.Go(func() {
			for {
				h, err := ev.HoldBest(ctx, client.BestRequest{Count: 2})
				if client.StatusOf(err) == wire.StatusNotEnough {
					return
				}
				if err != nil {
					t.Errorf("hold: %v", err)
					return
				}
				if granted.Add(1) == 200 {
					close(due)
				}
				if err := h.Confirm(ctx); err != nil {
					t.Errorf("confirm: %v", err)
					return
				}
				mu.Lock()
				booked[h.ID()] = h.Booked()
				mu.Unlock()
			}
		})
	}
	select {
	case <-due:
		stop()
		node(t, nodeConfig(dir, addr))
	case <-ctx.Done():
	}
	all.Wait()
	owner := map[wire.SeatID]wire.ID{}
	for id, seats := range booked {
		for _, s := range seats {
			if other, twice := owner[s]; twice {
				t.Errorf("seat %d was sold to %v and %v", s, id, other)
			}
			owner[s] = id
		}
		if info, err := ev.GetHold(ctx, id); err != nil || info.State != wire.StateBooked || info.Booked.Len() != 2 {
			t.Errorf("booking %v: %+v, %v", id, info, err)
		}
	}
	info, err := ev.Info(ctx)
	if err != nil {
		t.Fatal(err)
	}
	if info.Total.Booked != 2000 || len(owner) != 2000 {
		t.Errorf("the node has %+v booked, acknowledged were %d seats", info.Total, len(owner))
	}
}

// hall is a manifest of one section.
func hall(key string, rows, seats int) *wire.Manifest {
	list := make([]wire.Seat, seats)
	for i := range list {
		list[i].Label = fmt.Sprint(i + 1)
	}
	m := &wire.Manifest{Key: key, Categories: []string{"all"}, Sections: []wire.Section{{Name: "A"}}}
	for i := range rows {
		m.Sections[0].Rows = append(m.Sections[0].Rows, wire.Row{Name: fmt.Sprint(i + 1), Focal: uint16(seats - 1), Seats: list})
	}
	return m
}

// Until ExpiresAt a hold is there; soon after, it is not and its seats are free.
func TestHoldsEndWhenTheyShould(t *testing.T) {
	addr, _ := node(t, nodeConfig(t.TempDir(), "127.0.0.1:0"))
	c := dial(t, addr, nil)
	ctx := t.Context()
	ev, err := c.CreateEvent(ctx, hall("expiry", 1, 20))
	if err != nil {
		t.Fatal(err)
	}
	for seat := range wire.SeatID(5) {
		h, err := ev.Hold(ctx, client.HoldRequest{Seats: []wire.SeatID{seat}, TTL: 150 * time.Millisecond})
		if err != nil {
			t.Fatal(err)
		}
		for {
			info, err := ev.GetHold(ctx, h.ID())
			if err != nil {
				t.Fatal(err)
			}
			answered := time.Now()
			if info.State == wire.StateHeld {
				if late := answered.Sub(h.ExpiresAt()); late > 2*time.Second {
					t.Fatalf("still held %v after its time", late)
				}
				continue
			}
			if info.State != wire.StateExpired || answered.Before(h.ExpiresAt()) {
				t.Errorf("hold is %v, %v before its time", info.State, h.ExpiresAt().Sub(answered))
			}
			break
		}
		if err := h.Extend(ctx, 0); client.StatusOf(err) != wire.StatusExpired {
			t.Errorf("extended after its time: %v", err)
		}
		// Nobody took the seat meanwhile, so a payment that came late finds it.
		if err := h.Confirm(ctx); err != nil || !h.Reacquired() {
			t.Errorf("confirmed after its time: %v, reacquired %v", err, h.Reacquired())
		}
	}
}

// What a real node says reaches the caller as the status that it is.
func TestOutcomes(t *testing.T) {
	addr, _ := node(t, nodeConfig(t.TempDir(), "127.0.0.1:0"))
	c := dial(t, addr, nil)
	ctx := t.Context()
	m := hall("outcomes", 2, 20)
	m.Areas = []wire.Area{{Name: "Floor", Capacity: 3}}
	m.Rules = wire.DefaultRules()
	m.Rules.SeatsPerHold, m.Rules.SeatsPerBuyer, m.Rules.Extensions = 4, 5, 1
	ev, err := c.CreateEvent(ctx, m)
	if err != nil {
		t.Fatal(err)
	}
	hold := func(r client.HoldRequest) (*client.Hold, error) { return ev.Hold(ctx, r) }
	is := func(what string, err error, want wire.Status) {
		t.Helper()
		var e *client.Error
		if client.StatusOf(err) != want || errors.As(err, &e) && e.Applied != client.AppliedNo {
			t.Errorf("%s: %v, want %v", what, err, want)
		}
	}

	h, err := hold(client.HoldRequest{Seats: []wire.SeatID{0, 1}, Buyer: "ada"})
	is("hold", err, wire.StatusOK)
	_, err = hold(client.HoldRequest{Seats: []wire.SeatID{1, 2}})
	is("taken", err, wire.StatusTaken)
	_, err = hold(client.HoldRequest{Seats: []wire.SeatID{20}})
	is("past the end of the row", err, wire.StatusUnknownSeat)
	_, err = hold(client.HoldRequest{Seats: []wire.SeatID{2, 2}})
	is("a seat twice", err, wire.StatusBadRequest)
	_, err = hold(client.HoldRequest{Seats: []wire.SeatID{2, 3, 4, 5, 6}})
	is("too many in a hold", err, wire.StatusHoldLimit)
	_, err = hold(client.HoldRequest{Seats: []wire.SeatID{2, 3, 4, 5}, Buyer: "ada"})
	is("too many for the buyer", err, wire.StatusBuyerLimit)
	_, err = hold(client.HoldRequest{Seats: []wire.SeatID{3}, ID: h.ID()})
	is("an id used for something else", err, wire.StatusIDReused)
	again, err := hold(client.HoldRequest{Seats: []wire.SeatID{0, 1}, Buyer: "ada", ID: h.ID()})
	if is("the same again", err, wire.StatusOK); err == nil && again.Fence() != h.Fence() {
		t.Errorf("the same again has another fence")
	}
	_, err = ev.HoldArea(ctx, client.AreaRequest{Area: "Floor", Count: 4})
	is("a full area", err, wire.StatusNotEnough)
	is("extend", h.Extend(ctx, 0), wire.StatusOK)
	is("extend again", h.Extend(ctx, 0), wire.StatusNoExtension)
	is("release one", h.Release(ctx, 1), wire.StatusOK)
	is("release it again", h.Release(ctx, 1), wire.StatusOK)
	is("pay", h.Pay(ctx), wire.StatusOK)
	is("confirm", h.Confirm(ctx), wire.StatusOK)
	is("confirm again", h.Confirm(ctx), wire.StatusOK)
	is("release what is booked", h.Release(ctx), wire.StatusBooked)
	if got := h.Booked(); len(got) != 1 || got[0] != 0 {
		t.Errorf("booked %v, want seat 0", got)
	}
	booking := ev.Booking(h.ID())
	_, err = booking.Cancel(ctx, client.SeatsRequest{})
	is("cancel", err, wire.StatusOK)
	is("confirm what was cancelled", h.Confirm(ctx), wire.StatusCancelled)
	_, err = ev.GetHold(ctx, wire.KeyID("nobody's"))
	is("a hold that never was", err, wire.StatusUnknownHold)
	is("block", ev.Block(ctx, client.SeatsRequest{Seats: []wire.SeatID{10}}), wire.StatusOK)
	_, err = hold(client.HoldRequest{Seats: []wire.SeatID{10}})
	is("hold what is blocked", err, wire.StatusTaken)
	is("unblock", ev.Unblock(ctx, client.SeatsRequest{Seats: []wire.SeatID{10}}), wire.StatusOK)
	rules := m.Rules
	rules.OpensAt = time.Now().Add(time.Hour).UnixMilli()
	is("set rules", ev.SetRules(ctx, rules), wire.StatusOK)
	_, err = hold(client.HoldRequest{Seats: []wire.SeatID{10}})
	is("before the sale", err, wire.StatusNotOpen)
	_, err = c.CreateEvent(ctx, m)
	is("create the same again", err, wire.StatusOK)
	_, err = c.CreateEvent(ctx, hall("outcomes", 1, 1))
	is("create another under the key", err, wire.StatusExists)

	seats, err := ev.Map(ctx, client.Consistent)
	if err != nil || seats.State(0) != wire.SeatFree || seats.State(63) != wire.SeatBlocked {
		t.Errorf("map: %v", err)
	}
	changes, err := ev.Changes(ctx, seats.Version)
	if err != nil || changes.Resync || changes.Len() != 0 {
		t.Errorf("changes since now: %+v, %v", changes, err)
	}
	is("delete", c.DeleteEvent(ctx, "outcomes"), wire.StatusOK)
	is("delete again", c.DeleteEvent(ctx, "outcomes"), wire.StatusUnknownEvent)
	_, err = hold(client.HoldRequest{Seats: []wire.SeatID{10}})
	is("hold in an event that is gone", err, wire.StatusUnknownEvent)
	_, err = c.Event(ctx, "outcomes")
	is("find an event that is gone", err, wire.StatusUnknownEvent)
}

// Keys and TLS: who shows the wrong key, or meets the wrong certificate, is told.
func TestKeysAndTLS(t *testing.T) {
	dir := t.TempDir()
	config := nodeConfig(filepath.Join(dir, "data"), "127.0.0.1:0")
	pool := certificate(t, dir)
	config.TLSCert, config.TLSKey = filepath.Join(dir, "cert.pem"), filepath.Join(dir, "key.pem")
	config.OperatorKeyFile = filepath.Join(dir, "operator")
	if err := os.WriteFile(config.OperatorKeyFile, []byte("operator's secret, long enough\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	addr, _ := node(t, config)
	ctx := t.Context()
	secure := &tls.Config{RootCAs: pool}
	c := dial(t, addr, &client.Options{Key: "operator's secret, long enough", TLS: secure, Compression: true})
	ev, err := c.CreateEvent(ctx, hall("keys", 100, 100))
	if err != nil {
		t.Fatal(err)
	}
	if seats, err := ev.Map(ctx, client.Latest); err != nil || seats.State(0) != wire.SeatFree {
		t.Errorf("map: %v", err)
	}
	if err := c.AddKey(ctx, "door", "the door's secret, long enough", wire.RoleRead); err != nil {
		t.Fatal(err)
	}
	door := dial(t, addr, &client.Options{Key: "the door's secret, long enough", TLS: secure})
	seen, err := door.Event(ctx, "keys")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := seen.Hold(ctx, client.HoldRequest{Seats: []wire.SeatID{1}}); client.StatusOf(err) != wire.StatusForbidden {
		t.Errorf("a reader holds: %v", err)
	}
	if err := c.DropKey(ctx, "door"); err != nil {
		t.Fatal(err)
	}
	if _, err := seen.Info(ctx); client.StatusOf(err) != wire.StatusUnauthorized {
		t.Errorf("with a key that was dropped: %v", err)
	}
	_, err = client.Dial(ctx, []string{addr}, &client.Options{Key: "wrong", TLS: secure})
	if client.StatusOf(err) != wire.StatusUnauthorized {
		t.Errorf("with a wrong key: %v", err)
	}
	var untrusted *tls.CertificateVerificationError
	if _, err := client.Dial(ctx, []string{addr}, &client.Options{TLS: &tls.Config{}}); !errors.As(err, &untrusted) {
		t.Errorf("with an unknown certificate: %v", err)
	}
}

// certificate writes cert.pem and key.pem for 127.0.0.1 into dir.
func certificate(t *testing.T, dir string) *x509.CertPool {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1),
		Subject:      pkix.Name{CommonName: "node"},
		IPAddresses:  []net.IP{net.IPv4(127, 0, 0, 1)},
		NotBefore:    time.Now().Add(-time.Hour),
		NotAfter:     time.Now().Add(time.Hour),
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	private, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	for name, block := range map[string]*pem.Block{
		"cert.pem": {Type: "CERTIFICATE", Bytes: der},
		"key.pem":  {Type: "PRIVATE KEY", Bytes: private},
	} {
		if err := os.WriteFile(filepath.Join(dir, name), pem.EncodeToMemory(block), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	pool := x509.NewCertPool()
	pool.AddCert(cert)
	return pool
}

// A client that is closed leaves no goroutine behind, whatever was under way.
func TestNoGoroutineIsLeft(t *testing.T) {
	addr, _ := node(t, nodeConfig(t.TempDir(), "127.0.0.1:0"))
	setup := dial(t, addr, nil)
	if _, err := setup.CreateEvent(t.Context(), hall("leak", 10, 50)); err != nil {
		t.Fatal(err)
	}
	if left := clientStacks(); !strings.Contains(left, "(*conn).read") {
		t.Fatalf("an open client is not seen among the goroutines, so a leak would not be:\n%s", left)
	}
	setup.Close()
	for range 10 {
		c, err := client.Dial(t.Context(), []string{addr}, nil)
		if err != nil {
			t.Fatal(err)
		}
		ev, err := c.Event(t.Context(), "leak")
		if err != nil {
			t.Fatal(err)
		}
		var all sync.WaitGroup
		for range 50 {
			all.Go(func() {
				for {
					if _, err := ev.Map(t.Context(), client.Consistent); err != nil {
						return
					}
				}
			})
		}
		if _, err := ev.Info(t.Context()); err != nil {
			t.Error(err)
		}
		c.Close()
		all.Wait()
		if left := clientStacks(); left != "" {
			t.Fatalf("goroutines of a closed client are left:\n%s", left)
		}
	}
}

// clientStacks gives the stacks of all goroutines that are in package client.
func clientStacks() string {
	all := make([]byte, 4<<20)
	all = all[:runtime.Stack(all, true)]
	var ours []string
	for stack := range strings.SplitSeq(string(all), "\n\n") {
		if strings.Contains(stack, "usher/client.(") {
			ours = append(ours, stack)
		}
	}
	return strings.Join(ours, "\n\n")
}
