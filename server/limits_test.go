package server

import (
	"errors"
	"net"
	"os"
	"os/exec"
	"runtime"
	"sync"
	"testing"
	"time"

	"github.com/usher-seats/usher/wire"
)

// TestMaxInFlight proves that what one connection asks beyond its limit is
// refused, not queued and not applied, and that the room comes back with the
// answers.
func TestMaxInFlight(t *testing.T) {
	const limit, sent = 8, 200
	n := startNode(t, func(c *Config) { c.MaxInFlight = limit })
	event := openHall(t, n, hall("gala", 10, 50))
	p := dial(t, n)
	for range 3 {
		var stream []byte
		seat := map[uint64]wire.SeatID{}
		for i := range sent {
			stream = append(stream, p.frame(wire.KindHold, wire.FlagRepeat, holdOf(n, event, wire.SeatID(i%50+i/50*64)))...)
			seat[p.last] = wire.SeatID(i%50 + i/50*64)
		}
		p.write(stream)
		answers := map[wire.Status]int{}
		var refused wire.SeatID
		for range sent {
			h, _ := p.receive()
			answers[h.Status]++
			if h.Status == wire.StatusOverloaded {
				refused = seat[h.Request]
			}
		}
		if answers[wire.StatusOverloaded] == 0 || answers[wire.StatusOverloaded] == sent {
			t.Fatalf("answers %v: want some beyond the limit of %d and some below", answers, limit)
		}
		if s, body := p.ask(wire.KindHold, 0, holdOf(n, event, refused)); s != wire.StatusOK && s != wire.StatusTaken {
			t.Errorf("with nothing in flight: %v %q", s, body)
		}
	}
	if room := onlyConn(t, n).out.room(); room != 0 {
		t.Errorf("room for %d requests was not given back", room)
	}
	// A consistent map counts as more than there is in all, and still passes alone.
	ref := (&wire.EventRef{Event: event}).Append(nil)
	if s, _ := p.ask(wire.KindMap, wire.FlagConsistent, ref); s != wire.StatusOK {
		t.Errorf("a consistent map with nothing in flight: %v", s)
	}
}

// onlyConn is the node's end of the only connection.
func onlyConn(t *testing.T, n *Node) *conn {
	t.Helper()
	all := n.listener.all()
	if len(all) != 1 {
		t.Fatalf("the node has %d connections", len(all))
	}
	return all[0]
}

// TestSlowReader proves that a client that asks and does not read is dropped
// after the write timeout, that what waits for it is bounded until then, and
// that others are served meanwhile.
func TestSlowReader(t *testing.T) {
	n := startNode(t, func(c *Config) { c.WriteTimeout = 300 * time.Millisecond })
	m := hall("arena", 300, 512)
	event := openHall(t, n, m)
	slow := dial(t, n)
	c := onlyConn(t, n)
	shrinkWindow(t, slow.nc)
	ref := (&wire.EventRef{Event: event}).Append(nil)
	done := make(chan error, 1)
	go func() {
		// More than all buffers on the way hold, of both ways to answer.
		var stream []byte
		for i := range 4000 {
			flags := wire.Flags(0)
			if i%2 == 1 {
				flags = wire.FlagConsistent
			}
			stream = append(stream, slow.frame(wire.KindMap, flags, ref)...)
		}
		_, err := slow.nc.Write(stream)
		done <- err
	}()
	other := dial(t, n)
	most := 0
	for n.listener.count() > 1 {
		other.want(wire.StatusOK, wire.KindPing, nil)
		c.out.mu.Lock()
		most = max(most, len(c.out.buf))
		c.out.mu.Unlock()
	}
	<-done
	answer := 300*8*16 + 100
	if bound := maxPending + (defaultMaxInFlight/64+1)*answer; most > bound {
		t.Errorf("%d bytes waited for the slow client, more than %d", most, bound)
	}
	other.want(wire.StatusOK, wire.KindPing, nil)
}

func shrinkWindow(t *testing.T, nc net.Conn) {
	t.Helper()
	if err := nc.(*net.TCPConn).SetReadBuffer(4096); err != nil {
		t.Fatal(err)
	}
}

// TestHalfClose proves that a client that has said all it has to say gets all
// its answers and then the end.
func TestHalfClose(t *testing.T) {
	n := startNode(t, nil)
	event := openHall(t, n, hall("gala", 10, 50))
	p := dial(t, n)
	var stream []byte
	for i := range 50 {
		stream = append(stream, p.frame(wire.KindHold, 0, holdOf(n, event, wire.SeatID(i)))...)
	}
	p.write(stream)
	halfClose(t, p)
	for range 50 {
		if h, body := p.receive(); h.Status != wire.StatusOK {
			t.Fatalf("%v %q", h.Status, body)
		}
	}
	p.ended()
}

// TestIdle proves that a silent connection gives up its large buffers and works
// on, and that it is closed after its time.
func TestIdle(t *testing.T) {
	n := startNode(t, func(c *Config) { c.rest, c.IdleTimeout = 40*time.Millisecond, time.Hour })
	p := dial(t, n)
	c := onlyConn(t, n)
	var stream []byte
	for range 100 {
		stream = append(stream, p.frame(wire.KindPing, 0, make([]byte, 2000))...)
	}
	p.write(stream)
	for range 100 {
		p.receive()
	}
	for n.counters.rested.Load() == 0 {
		runtime.Gosched()
	}
	p.want(wire.StatusOK, wire.KindPing, []byte("still here"))
	p.nc.Close()
	for n.listener.count() > 0 {
		runtime.Gosched()
	}
	if len(c.in) != smallBuffer {
		t.Errorf("after a rest the connection has a read buffer of %d bytes", len(c.in))
	}

	n = startNode(t, func(c *Config) { c.rest, c.IdleTimeout = 40*time.Millisecond, 200*time.Millisecond })
	began := time.Now()
	p = dial(t, n)
	p.want(wire.StatusOK, wire.KindPing, nil)
	if _, _, err := p.next(); err == nil {
		t.Error("an answer to nothing")
	}
	if took := time.Since(began); took < 200*time.Millisecond {
		t.Errorf("closed after %v", took)
	}
	// Silence before the hello is another matter, with another limit.
	p = connect(t, n.Addr())
	if p.nc.SetReadDeadline(time.Now().Add(400*time.Millisecond)) != nil {
		t.Fatal("no deadline")
	}
	if _, _, err := p.next(); !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("a connection without a hello yet: %v", err)
	}
}

// TestManyClients proves, best under the race detector, that connections, groups
// and shards keep each other's requests apart: every answer belongs to its
// request, and no seat is granted twice. The early look answers at once, or
// sends its answers along with an entry, as it must when others could lead.
func TestManyClients(t *testing.T) {
	t.Run("sole voter", func(t *testing.T) { testManyClients(t, false) })
	t.Run("passengers", func(t *testing.T) { testManyClients(t, true) })
}

func testManyClients(t *testing.T, passengers bool) {
	const clients, seats, rounds = 8, 200, 60
	n := startNode(t, func(c *Config) { c.Shards, c.passengers = 2, passengers })
	events := []wire.EventID{openHall(t, n, hall("a", 4, 50)), openHall(t, n, hall("b", 4, 50))}
	var mu sync.Mutex
	owner := map[[2]uint64]int{}
	var all sync.WaitGroup
	for who := range clients {
		p := dial(t, n)
		all.Go(func() {
			for round := range rounds {
				ids := map[uint64][2]uint64{}
				var stream []byte
				for i := range 10 {
					event := events[(who+i)%2]
					k := (round*7 + i*13 + who*29) % seats
					seat := wire.SeatID(k/50*64 + k%50)
					stream = append(stream, p.frame(wire.KindHold, 0, holdOf(n, event, seat))...)
					ids[p.last] = [2]uint64{uint64(event), uint64(seat)}
				}
				if _, err := p.nc.Write(stream); err != nil {
					t.Error(err)
					return
				}
				for range 10 {
					h, body, err := p.next()
					asked, mine := ids[h.Request]
					if err != nil || !mine {
						t.Errorf("answer to request %d: %v", h.Request, err)
						return
					}
					delete(ids, h.Request)
					switch h.Status {
					case wire.StatusOK:
						var g wire.Granted
						if err := g.Decode(body); err != nil || g.Seats.Len() != 1 || uint64(g.Seats.At(0)) != asked[1] {
							t.Errorf("asked for %v, granted %v, %v", asked, g.Seats.IDs(), err)
						}
						mu.Lock()
						if before, twice := owner[asked]; twice {
							t.Errorf("seat %v was granted to %d and %d", asked, before, who)
						}
						owner[asked] = who
						mu.Unlock()
					case wire.StatusTaken:
					default:
						t.Errorf("asked for %v: %v %q", asked, h.Status, body)
					}
				}
			}
		})
	}
	all.Wait()
	if n.counters.early.Load() == 0 {
		t.Error("no hold was answered by the early look")
	}
	var carried uint64
	for g := range n.groups.Load().shards {
		carried += g.log.Stats().Passengers
	}
	if passengers != (carried > 0) {
		t.Errorf("%d answers travelled as passengers", carried)
	}
}

// TestPythonClient proves that docs/protocol.md is enough to write a client: the
// one written from it goes through the life of a hold against a node.
func TestPythonClient(t *testing.T) {
	n := startNode(t, nil)
	cmd := exec.CommandContext(t.Context(), "python3", "../docs/examples/client.py", n.Addr())
	cmd.Env = append(os.Environ(), "PYTHONDONTWRITEBYTECODE=1")
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
}
