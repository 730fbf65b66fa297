package server

import (
	"bufio"
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"net"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/usher-seats/usher/wire"
)

// The benchmarks here measure a node together with the leanest client there can
// be, on the same cores: it encodes each request by patching a template and
// reads no more of an answer than its header. Package bench has the honest ones.

const (
	speedRows     = 100
	speedRowSeats = 500 // eight words a row
	speedSeats    = speedRows * speedRowSeats
	speedRowIDs   = 512
)

// speedSeat is the id of the i-th seat of an event.
func speedSeat(i int) wire.SeatID {
	return wire.SeatID(i/speedRowSeats*speedRowIDs + i%speedRowSeats)
}

// A shooter sends requests on one connection, depth of them unanswered at any
// time.
type shooter struct {
	nc    net.Conn
	in    *bufio.Reader
	out   []byte
	rng   *rand.Rand
	depth int
	stat  [2]int // answers: ok, other
}

func newShooter(b *testing.B, n *Node, depth int) *shooter {
	p := dial(b, n)
	if err := p.nc.SetDeadline(time.Time{}); err != nil {
		b.Fatal(err)
	}
	return &shooter{nc: p.nc, in: bufio.NewReaderSize(p.nc, 256<<10), rng: rand.New(rand.NewPCG(rand.Uint64(), 0)), depth: depth}
}

// hold appends a hold of seats.
func (s *shooter) hold(n *Node, event wire.EventID, now wire.Millis, seats ...wire.SeatID) {
	const size = wire.MutationSize + 8 + 8 + 4 + 1 + 1 + 2
	s.out = wire.Header{Body: size + 4*len(seats), Kind: wire.KindHold}.Append(s.out)
	at := len(s.out)
	s.out = append(s.out, make([]byte, size)...)
	body := s.out[at:]
	binary.LittleEndian.PutUint64(body, uint64(event))
	binary.BigEndian.PutUint64(body[8:], uint64(now)<<16|7<<12|s.rng.Uint64()&0xfff)
	binary.LittleEndian.PutUint64(body[16:], s.rng.Uint64()&^0xc0|0x80)
	binary.LittleEndian.PutUint16(body[size-2:], uint16(len(seats)))
	for _, seat := range seats {
		s.out = binary.LittleEndian.AppendUint32(s.out, uint32(seat))
	}
}

// run sends requests made by next until it says there are no more, and takes
// all answers.
func (s *shooter) run(next func() bool) error {
	open, more := 0, true
	for more || open > 0 {
		for more && open < s.depth {
			if more = next(); more {
				open++
			}
		}
		if len(s.out) > 0 {
			if _, err := s.nc.Write(s.out); err != nil {
				return err
			}
			s.out = s.out[:0]
		}
		for open > 0 {
			head, err := s.in.Peek(wire.HeaderSize)
			if err != nil {
				return err
			}
			h, err := wire.ParseHeader(head, wire.MaxAnswerBody)
			if err != nil {
				return err
			}
			if h.Status == wire.StatusOK {
				s.stat[0]++
			} else {
				s.stat[1]++
			}
			if _, err := s.in.Discard(wire.HeaderSize + h.Body); err != nil {
				return err
			}
			open--
			if s.in.Buffered() < wire.HeaderSize {
				break
			}
		}
	}
	return nil
}

// processorTime is what this process has used of all cores: unlike the elapsed
// time it tells something on a machine that others use too.
func processorTime(b *testing.B) time.Duration {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		b.Fatal(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

func speedHall(key string) *wire.Manifest {
	m := hall(key, speedRows, speedRowSeats)
	m.Rules.SeatsPerHold = wire.MaxHoldSeats
	return m
}

// shoot runs conns shooters, whose requests each makes.
func shoot(b *testing.B, n *Node, conns, depth int, each func(s *shooter) func() bool) (ok, other int) {
	shooters := make([]*shooter, conns)
	for i := range shooters {
		shooters[i] = newShooter(b, n, depth)
	}
	before := processorTime(b)
	b.ResetTimer()
	var all sync.WaitGroup
	for _, s := range shooters {
		all.Go(func() {
			next := each(s)
			if err := s.run(next); err != nil {
				b.Error(err)
			}
		})
	}
	all.Wait()
	b.StopTimer()
	for _, s := range shooters {
		ok, other = ok+s.stat[0], other+s.stat[1]
		s.nc.Close()
	}
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "ops/s")
	b.ReportMetric(float64(processorTime(b)-before)/float64(b.N), "cpu-ns/op")
	return ok, other
}

// benchmarkHold holds two adjacent seats, event after event.
func benchmarkHold(b *testing.B, conns, depth int) {
	n := startNode(b, func(c *Config) { c.HTTP, c.Admin = Off, Off })
	const perEvent = speedSeats / 2
	var events []wire.EventID
	for i := 0; i*perEvent < b.N; i++ {
		events = append(events, openHall(b, n, speedHall(fmt.Sprint("hall-", i))))
	}
	var taken atomic.Int64
	ok, other := shoot(b, n, conns, depth, func(s *shooter) func() bool {
		return func() bool {
			k := int(taken.Add(1)) - 1
			if k >= b.N {
				return false
			}
			event := events[k/perEvent]
			seat := k % perEvent * 2
			s.hold(n, event, n.now(event), speedSeat(seat), speedSeat(seat+1))
			return true
		}
	})
	if ok != b.N || other != 0 {
		b.Errorf("%d holds of %d granted, %d not", ok, b.N, other)
	}
}

func BenchmarkHold16x64(b *testing.B)  { benchmarkHold(b, 16, 64) }
func BenchmarkHold16x512(b *testing.B) { benchmarkHold(b, 16, 512) }
func BenchmarkHold64x1(b *testing.B)   { benchmarkHold(b, 64, 1) }

func BenchmarkStampede16x512(b *testing.B) { benchmarkStampede(b, 16, 512, false) }
func BenchmarkStampede64x1(b *testing.B)   { benchmarkStampede(b, 64, 1, false) }

// BenchmarkPassengers16x512 is the stampede of a shard that others could lead.
func BenchmarkPassengers16x512(b *testing.B) { benchmarkStampede(b, 16, 512, true) }

// benchmarkStampede asks for two random seats of an event of which one in a
// thousand is free.
func benchmarkStampede(b *testing.B, conns, depth int, passengers bool) {
	n := startNode(b, func(c *Config) { c.HTTP, c.Admin, c.passengers = Off, Off, passengers })
	event := openHall(b, n, speedHall("stampede"))
	sell := newShooter(b, n, 64)
	seat := 0
	if err := sell.run(func() bool {
		seats := make([]wire.SeatID, 0, 50)
		for ; len(seats) < 50 && seat < speedSeats; seat++ {
			if seat%1000 != 500 {
				seats = append(seats, speedSeat(seat))
			}
		}
		if len(seats) == 0 {
			return false
		}
		sell.hold(n, event, n.now(event), seats...)
		return true
	}); err != nil {
		b.Fatal(err)
	}
	var taken atomic.Int64
	const step = 1024
	shoot(b, n, conns, depth, func(s *shooter) func() bool {
		left := 0
		now := n.now(event)
		return func() bool {
			if left == 0 {
				if int(taken.Add(step)) > b.N+step-1 {
					return false
				}
				left = step
				now = n.now(event)
			}
			left--
			r := s.rng.Uint64()
			first := int(uint32(r) % speedSeats)
			second := int(uint32(r>>32) % (speedSeats - 1))
			if second >= first {
				second++
			}
			s.hold(n, event, now, speedSeat(first), speedSeat(second))
			return true
		}
	})
	b.ReportMetric(float64(n.counters.early.Load())/float64(b.N), "early/op")
}
