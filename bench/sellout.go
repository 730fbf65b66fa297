package bench

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"text/tabwriter"
	"time"

	"github.com/schollz/progressbar/v3"

	"github.com/usher-seats/usher/client"
	"github.com/usher-seats/usher/wire"
)

// SelloutOptions of a simulated sale. The zero value of a field means its default.
type SelloutOptions struct {
	Key      string        // of the event; default "arena"
	Seats    int           // default 50,000, in rows of 50
	Buyers   int           // who buy at the same time; default 256
	HoldTTL  time.Duration // of an abandoned hold; default 1 s
	Seed     uint64        // default 1
	Progress io.Writer     // nil: no progress bar
	// AtHalf is called once, on a buyer's goroutine, when half of the seats are
	// booked; nil: nothing is.
	AtHalf func()
}

// SelloutReport is what buyers did and what the audit found.
type SelloutReport struct {
	Event     string
	Seats     int
	Took      time.Duration
	Asked     int64 // requests for seats
	Taken     int64 // lost to somebody else
	Granted   int64 // holds
	Abandoned int64 // holds left to expire
	Released  int64 // holds given back
	Bookings  int64
	Booked    int64 // seats
	// LongestGap is the longest time in which nothing was booked, but for the last
	// tenth of the seats, when buyers wait for what others have abandoned.
	LongestGap time.Duration
}

// Sellout sells an event to impatient buyers until every seat is booked, and
// audits: each seat is in exactly one acknowledged booking, and the cluster
// says the same.
func Sellout(ctx context.Context, c *client.Client, o SelloutOptions) (*SelloutReport, error) {
	o = o.withDefaults()
	ev, err := createHall(ctx, c, o)
	if err != nil {
		return nil, fmt.Errorf("create the event: %w", err)
	}
	s := &sellout{o: o, event: ev, bookings: make(map[wire.ID][]wire.SeatID), owner: make([]atomic.Uint32, o.Seats)}
	start := time.Now()
	if err := s.run(ctx); err != nil {
		return nil, err
	}
	took := time.Since(start)
	if err := s.audit(ctx); err != nil {
		return nil, fmt.Errorf("audit: %w", err)
	}
	return s.report(took), nil
}

func (s *sellout) report(took time.Duration) *SelloutReport {
	return &SelloutReport{
		Event:     s.o.Key,
		Seats:     s.o.Seats,
		Took:      took,
		Asked:     s.asked.Load(),
		Taken:     s.taken.Load(),
		Granted:   s.granted.Load(),
		Abandoned: s.abandoned.Load(),
		Released:  s.released.Load(),
		Bookings:  int64(len(s.bookings)),
		Booked:    s.booked.Load(),

		LongestGap: s.gap,
	}
}

func (o SelloutOptions) withDefaults() SelloutOptions {
	if o.Key == "" {
		o.Key = "arena"
	}
	if o.Seats == 0 {
		o.Seats = defaultSeats
	}
	if o.Buyers == 0 {
		o.Buyers = 256
	}
	if o.HoldTTL == 0 {
		o.HoldTTL = time.Second
	}
	if o.Seed == 0 {
		o.Seed = 1
	}
	return o
}

func createHall(ctx context.Context, c *client.Client, o SelloutOptions) (*client.Event, error) {
	m := &wire.Manifest{Key: o.Key, Name: "The Arena", Categories: []string{"front", "middle", "back"}, Rules: wire.DefaultRules()}
	seats := make([][]wire.Seat, len(m.Categories))
	for category := range seats {
		for i := range rowSeats {
			seats[category] = append(seats[category], wire.Seat{Label: fmt.Sprint(i + 1), Category: uint16(category)})
		}
	}
	rows := o.Seats / rowSeats
	m.Sections = []wire.Section{{Name: "A"}}
	for i := range rows {
		m.Sections[0].Rows = append(m.Sections[0].Rows, wire.Row{
			Name: fmt.Sprint(i + 1), Focal: rowSeats - 1, Seats: seats[i*len(seats)/rows],
		})
	}
	return c.CreateEvent(ctx, m)
}

// A sellout is one sale under way, shared by its buyers.
type sellout struct {
	o     SelloutOptions
	event *client.Event
	owner []atomic.Uint32 // by seat index: how many acknowledged bookings have it

	asked, taken, granted, abandoned, released, booked atomic.Int64

	half sync.Once

	mu       sync.Mutex // guards what follows
	bookings map[wire.ID][]wire.SeatID
	last     time.Time // a booking
	gap      time.Duration
}

func (s *sellout) run(ctx context.Context) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	bar := selloutBar(s.o)
	defer bar.Finish()
	var wg sync.WaitGroup
	for i := range s.o.Buyers {
		wg.Go(func() {
			r := rand.New(rand.NewPCG(s.o.Seed, uint64(i)))
			for ctx.Err() == nil && s.booked.Load() < int64(s.o.Seats) {
				if err := s.buyer(ctx, r); err != nil {
					cancel(err)
					return
				}
				// A bar that cannot be drawn is no reason to stop selling.
				_ = bar.Set64(s.booked.Load())
			}
		})
	}
	wg.Wait()
	if err := context.Cause(ctx); err != nil {
		return err
	}
	return nil
}

func selloutBar(o SelloutOptions) *progressbar.ProgressBar {
	out := o.Progress
	if out == nil {
		out = io.Discard
	}
	return progressbar.NewOptions64(int64(o.Seats),
		progressbar.OptionSetWriter(out),
		progressbar.OptionSetDescription("seats booked"),
		progressbar.OptionSetWidth(40),
		progressbar.OptionShowCount(),
		progressbar.OptionThrottle(100*time.Millisecond),
		progressbar.OptionClearOnFinish(),
	)
}

// buyer is one visit: he finds seats, and then pays, gives them back, or just
// goes away.
func (s *sellout) buyer(ctx context.Context, r *rand.Rand) error {
	count := 1 + r.IntN(6)
	abandons, gives := r.IntN(100) < 8, r.IntN(100) < 5
	var ttl time.Duration
	if abandons {
		ttl = s.o.HoldTTL
	}
	hold, err := s.find(ctx, r, count, ttl)
	if hold == nil || err != nil {
		return err
	}
	s.granted.Add(1)
	switch {
	case abandons:
		s.abandoned.Add(1)
		return nil
	case gives:
		s.released.Add(1)
		return hold.Release(ctx)
	}
	if err := hold.Pay(ctx); err != nil {
		return fmt.Errorf("pay: %w", err)
	}
	if err := hold.Confirm(ctx); err != nil {
		return fmt.Errorf("confirm: %w", err)
	}
	return s.book(hold)
}

// find picks seats by hand in a good row, or takes the best there are. When the
// house is nearly full it settles for fewer; nil means that nothing is free now.
func (s *sellout) find(ctx context.Context, r *rand.Rand, count int, ttl time.Duration) (*client.Hold, error) {
	if r.IntN(2) == 0 {
		s.asked.Add(1)
		hold, err := s.event.Hold(ctx, client.HoldRequest{Seats: pick(r, count, s.o.Seats), TTL: ttl})
		if !lostRace(err) {
			return hold, err
		}
		s.taken.Add(1)
	}
	for ; count > 0; count-- {
		s.asked.Add(1)
		hold, err := s.event.HoldBest(ctx, client.BestRequest{Count: count, TTL: ttl})
		if !lostRace(err) {
			return hold, err
		}
	}
	return nil, nil
}

// pick chooses neighbours in a row; the front rows are wanted most.
func pick(r *rand.Rand, count, seats int) []wire.SeatID {
	rows := seats / rowSeats
	row := min(r.IntN(rows), r.IntN(rows), r.IntN(rows))
	first := row*rowSeats + r.IntN(rowSeats-count+1)
	ids := make([]wire.SeatID, count)
	for i := range ids {
		ids[i] = seatID(first + i)
	}
	return ids
}

// lostRace tells that somebody else has the seats, which is no failure.
func lostRace(err error) bool {
	var e *client.Error
	return errors.As(err, &e) && (e.Status == wire.StatusTaken || e.Status == wire.StatusNotEnough)
}

// book writes an acknowledged booking into the ledger.
func (s *sellout) book(h *client.Hold) error {
	seats := h.Seats()
	for _, seat := range seats {
		if s.owner[seatIndex(seat)].Add(1) != 1 {
			return fmt.Errorf("seat %d was sold twice, the second time to hold %v", seat, h.ID())
		}
	}
	booked := s.booked.Add(int64(len(seats)))
	if s.o.AtHalf != nil && booked >= int64(s.o.Seats/2) {
		s.half.Do(s.o.AtHalf)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.bookings[h.ID()] = seats
	now := time.Now()
	if !s.last.IsZero() && booked < int64(s.o.Seats)*9/10 {
		s.gap = max(s.gap, now.Sub(s.last))
	}
	s.last = now
	return nil
}

// audit holds the cluster's map and each of its bookings against the ledger.
func (s *sellout) audit(ctx context.Context) error {
	m, err := s.event.Map(ctx, client.Consistent)
	if err != nil {
		return err
	}
	for i := range s.o.Seats {
		if got, n := m.State(seatID(i)), s.owner[i].Load(); got != wire.SeatBooked || n != 1 {
			return fmt.Errorf("seat %d is %v and in %d acknowledged bookings", seatID(i), got, n)
		}
	}
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	turn := make(chan struct{}, auditors)
	var read sync.WaitGroup
	for id, seats := range s.bookings {
		turn <- struct{}{}
		read.Go(func() {
			defer func() { <-turn }()
			if err := s.auditBooking(ctx, id, seats); err != nil {
				cancel(err) // of several, the first
			}
		})
	}
	read.Wait()
	return context.Cause(ctx)
}

// auditors is how many bookings are read at a time: reads that are under way
// together share an entry of the log.
const auditors = 256

func (s *sellout) auditBooking(ctx context.Context, id wire.ID, seats []wire.SeatID) error {
	info, err := s.event.GetHold(ctx, id)
	if err != nil {
		return fmt.Errorf("booking %v: %w", id, err)
	}
	if info.State != wire.StateBooked || info.Booked.Len() != len(seats) {
		return fmt.Errorf("booking %v is %v with %d seats, acknowledged were %d", id, info.State, info.Booked.Len(), len(seats))
	}
	for _, seat := range info.Booked.IDs() {
		if s.owner[seatIndex(seat)].Load() != 1 {
			return fmt.Errorf("booking %v has seat %d, which was not acknowledged", id, seat)
		}
	}
	return nil
}

// WriteTable writes the report for people.
func (r *SelloutReport) WriteTable(w io.Writer) error {
	tw := tabwriter.NewWriter(w, 0, 8, 2, ' ', 0)
	fmt.Fprintf(tw, "event\t%s, %s seats, sold out in %.1f s\n", r.Event, thousands(int64(r.Seats)), r.Took.Seconds())
	fmt.Fprintf(tw, "asked for seats\t%s times, %s lost to somebody else\n", thousands(r.Asked), thousands(r.Taken))
	fmt.Fprintf(tw, "holds\t%s, of which %s were left to expire and %s given back\n", thousands(r.Granted), thousands(r.Abandoned), thousands(r.Released))
	fmt.Fprintf(tw, "bookings\t%s with %s seats\n", thousands(r.Bookings), thousands(r.Booked))
	fmt.Fprintf(tw, "longest gap\t%d ms without a booking\n", r.LongestGap.Milliseconds())
	fmt.Fprintf(tw, "audit\tok: every seat booked once, every booking on the server\n")
	return tw.Flush()
}
