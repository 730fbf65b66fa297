package onsale

import (
	"bytes"
	"encoding/binary"
	"math"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"github.com/usher-seats/usher/bench/audit"
	"github.com/usher-seats/usher/bench/scenario"
	"github.com/usher-seats/usher/wire"
)

// A wheel gives every user back once, in the millisecond he asked for or the first
// after it, as a sorted list would.
func TestWheelAgainstSorting(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	const users, span = 2000, 500
	w := newWheel(make([]uint32, users), span)
	want := make(map[int][]uint32) // by millisecond
	for user := range uint32(users) {
		at := r.IntN(span + 50)
		if ok := w.add(user, at); ok != (at < span) {
			t.Fatalf("user %d at %d: %v", user, at, ok)
		}
		if at < span {
			want[at] = append(want[at], user)
		}
	}
	again := make(map[uint32]bool)
	for now := 0; now < span; now += 1 + r.IntN(20) {
		for {
			head, at, ok := w.take(now)
			if !ok {
				break
			}
			var got []uint32
			for head != 0 {
				user := head - 1
				head = w.next[user]
				got = append(got, user)
				if later := now + r.IntN(60) - 20; !again[user] && w.add(user, later) {
					again[user] = true
					later = max(later, w.at)
					want[later] = append(want[later], user)
				}
			}
			slices.Sort(got)
			expected := slices.Sorted(slices.Values(want[at]))
			if !slices.Equal(got, expected) {
				t.Fatalf("at %d: %v, want %v", at, got, expected)
			}
			delete(want, at)
		}
	}
	for at, left := range want {
		if at < span-20 {
			t.Errorf("left at %d: %v", at, left)
		}
	}
}

// A ticket that is taken apart and put together is the same text.
func TestTicketsArePacked(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	var f families
	type packed struct {
		text   []byte
		number uint32
		index  uint8
		mac    [16]byte
	}
	var all []packed
	for i := range 500 {
		raw := make([]byte, ticketBytes)
		raw[0], raw[1], raw[2], raw[6] = 1, byte(1+i%2), byte(i%3), 9
		binary.LittleEndian.PutUint64(raw[ticketNumberAt:], uint64(r.Uint32N(1<<31)))
		for j := ticketMACAt; j < ticketBytes; j++ {
			raw[j] = byte(r.Uint32())
		}
		p := packed{text: ticketText.AppendEncode(nil, raw)}
		var err error
		if p.number, p.index, p.mac, err = f.pack(p.text); err != nil {
			t.Fatal(err)
		}
		all = append(all, p)
	}
	for _, p := range all {
		if got := f.unpack(nil, p.number, p.index, &p.mac); !bytes.Equal(got, p.text) {
			t.Fatalf("%s became %s", p.text, got)
		}
	}
	if n := len(*f.list.Load()); n != 6 {
		t.Errorf("%d families, want 6", n)
	}
	for _, bad := range [][]byte{nil, []byte("short"), bytes.Repeat([]byte("*"), len(all[0].text))} {
		if _, _, _, err := f.pack(bad); err == nil {
			t.Errorf("%q was accepted", bad)
		}
	}
}

func TestNumbers(t *testing.T) {
	const users = numbersChunk + 1000
	n := newNumbers(users)
	for user := range uint32(users) {
		if !n.set(users-1-user, user) {
			t.Fatal(user)
		}
	}
	if !n.set(5, users-6) || n.set(5, 7) || n.set(1<<30, 7) {
		t.Error("a number was given to two, or not to the same again, or is too high")
	}
	if user, ok := n.user(0); !ok || user != users-1 {
		t.Error(user, ok)
	}
	next := uint32(users - 1)
	for user := range n.all {
		if user != next {
			t.Fatalf("user %d, want %d", user, next)
		}
		next--
	}
}

// Counting and picking agree with looking at one seat after the other.
func TestSeatMapAgainstNaive(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	for range 300 {
		row := 1 + r.IntN(64)
		m := &seatMap{row: row, planes: make([]byte, 16*3)}
		for i := range m.planes {
			m.planes[i] = byte(r.Uint32()) & byte(r.Uint32())
		}
		w := wire.SeatMap{Planes: m.planes}
		for s := wire.SeatFree; s <= wire.SeatBlocked; s++ {
			naive := 0
			for i := range 3 * row {
				if w.State(wire.SeatID(i/row*64+i%row)) == s {
					naive++
				}
			}
			if got := m.count(s); got != naive {
				t.Fatalf("%d seats are %v, want %d", got, s, naive)
			}
		}
		count, from, at := 1+r.IntN(4), r.IntN(row), r.IntN(3)
		free := func(i int) bool {
			for j := i; j < i+count; j++ {
				if j >= row || w.State(wire.SeatID(at*64+j)) != wire.SeatFree {
					return false
				}
			}
			return true
		}
		want := -1
		for i := range row {
			if k := (from + i) % row; want < 0 && free(k) && (k >= from || i >= row-from) {
				want = k
			}
		}
		got := m.together(at, from, count)
		switch {
		case got == nil && want >= 0, got != nil && (want < 0 || int(got[0]) != at*64+want || len(got) != count):
			t.Fatalf("row %d from %d: %v, want %d seats at %d", at, from, got, count, want)
		}
	}
}

// What users decide is spread as the scenario says, and is the same each time.
func TestHabits(t *testing.T) {
	s, err := scenario.Preset("ten-stadium-day")
	if err != nil {
		t.Fatal(err)
	}
	s.Carriers = scenario.Carriers{HTTP: 0.2, SSE: 0.1, WebSocket: 0.05}
	h, again := newHabits(s), newHabits(s)
	const users = 50_000
	var early, first, parties, waits float64
	byCarrier := make([]float64, 4)
	for user := range uint32(users) {
		if h.arrives(user) != again.arrives(user) || h.event(user) != again.event(user) || h.party(user) != again.party(user) {
			t.Fatalf("user %d decides this way and that", user)
		}
		if h.arrives(user) < s.Wall(s.Arrivals.Before) {
			early++
		}
		if h.event(user) == 0 {
			first++
		}
		parties += float64(h.party(user))
		byCarrier[h.carrier(user)]++
		waits += h.dice.wait(user, whenThinks, 1, time.Second).Seconds()
	}
	near := func(what string, got, want float64) {
		if math.Abs(got/users-want) > 0.01*max(1, want) {
			t.Errorf("%s: %.4f, want %.4f", what, got/users, want)
		}
	}
	near("early", early, s.Arrivals.Early)
	near("first event", first, s.Events.Shares()[0])
	near("party", parties, 0.12+2*0.5+3*0.13+4*0.25)
	near("http", byCarrier[byHTTP], 0.2)
	near("sse", byCarrier[bySSE], 0.1)
	near("websocket", byCarrier[byWebSocket], 0.05)
	near("wait", waits, 1)
}

// A coarse quantile is within an eighth of an octave of the exact one.
func TestQuantile(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	var s second
	var all []int64
	for range 10_000 {
		v := int64(math.Exp(r.Float64() * 17))
		all = append(all, v)
		s.steps[latencyStep(v)]++
	}
	slices.Sort(all)
	for _, q := range []float64{0, 0.5, 0.99, 1} {
		exact := float64(all[int(q*float64(len(all)-1))])
		if got := s.quantile(q); got < exact || got > exact*1.13+1 {
			t.Errorf("the %v quantile is %v, exactly %v", q, got, exact)
		}
	}
	if (&second{}).quantile(0.5) != 0 {
		t.Error("a second without answers has a latency")
	}
}

func TestCorrelation(t *testing.T) {
	var rising, falling, random [][2]float64
	r := rand.New(rand.NewPCG(1, 2))
	for i := range 5000 {
		x := float64(i)
		rising = append(rising, [2]float64{x, x * x})
		falling = append(falling, [2]float64{x, -x})
		random = append(random, [2]float64{x, r.Float64()})
	}
	if correlation(rising) != 1 || correlation(falling) != -1 || math.Abs(correlation(random)) > 0.05 || correlation(nil) != 0 {
		t.Error(correlation(rising), correlation(falling), correlation(random))
	}
}

// Tickets come in the order of their numbers, those that were given twice among
// them.
func TestTicketsInOrder(t *testing.T) {
	c := newCrowd(10)
	e := &event{numbers: newNumbers(10)}
	for user := range uint32(10) {
		c.number[user] = 9 - user
		e.numbers.set(9-user, user)
	}
	for _, n := range []uint32{12, 4, 0} {
		e.twice(audit.Ticket{Number: n})
	}
	var got []uint32
	for ticket := range e.tickets(c) {
		got = append(got, ticket.Number)
	}
	if !slices.Equal(got, []uint32{0, 0, 1, 2, 3, 4, 4, 5, 6, 7, 8, 9, 12}) {
		t.Error(got)
	}
}
