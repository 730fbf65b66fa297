package inventory

import (
	"regexp"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

func measure(t *testing.T, f *fake, workload string) error {
	t.Helper()
	return measureFor(t, f, workload, 20*time.Millisecond)
}

func measureFor(t *testing.T, f *fake, workload string, d time.Duration) error {
	t.Helper()
	r, err := Measure(t.Context(), f, Options{
		Workload: workload, Load: Load{Conns: 4, Depth: 8}, Duration: d, Seats: MinSeats, Ahead: 2, Seed: 1,
	})
	if err == nil && r.Operations == 0 {
		t.Error("nothing was done")
	}
	return err
}

// An honest system passes the audit of every workload.
func TestAuditPasses(t *testing.T) {
	for _, w := range Workloads() {
		t.Run(w, func(t *testing.T) {
			if err := measure(t, newFake(none), w); err != nil {
				t.Fatal(err)
			}
		})
	}
}

// One lie in a run fails it.
func TestAuditFindsLies(t *testing.T) {
	for _, c := range []struct {
		name, workload, want string
		lie                  lie
	}{
		{"a seat granted twice", "stampede", "was granted to hold", grantTwice},
		{"a hold forgotten", "hold", "is free, acknowledged was held", forget},
		{"a loser who has the seats", "hold", "which nobody else asked for, are taken", overlap},
		{"a booking forgotten", "cycle", "is held, acknowledged was booked", forgetSale},
		{"a group that is not together", "best", "which are not together", scatter},
		{"a map cut short", "map", "the map has 1999 seats, the event 2000", cutMap},
	} {
		t.Run(c.name, func(t *testing.T) {
			f := newFake(c.lie)
			err := measure(t, f, c.workload)
			if f.lies == 0 {
				t.Fatal("the lie was not told")
			}
			if err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("the audit says %v, want something about %q", err, c.want)
			}
		})
	}
}

// Holds that nobody confirms end, neither early nor never. Time is virtual.
func TestAuditOfHoldsThatEnd(t *testing.T) {
	for _, c := range []struct {
		name, want string
		lie        lie
	}{
		{"honest", "", none},
		{"early", "has ended before its time|though hold", endEarly},
		{"never", "is held, acknowledged was free", endNever},
		{"a seat granted twice", "was granted to hold", grantTwice},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				f := newFake(c.lie)
				f.delay = 5 * time.Millisecond
				err := measureFor(t, f, "onsale", 3*onsaleTTL)
				switch {
				case c.lie != none && f.lies == 0:
					t.Error("the lie was not told")
				case c.want == "" && err != nil, c.want != "" && (err == nil || !regexp.MustCompile(c.want).MatchString(err.Error())):
					t.Errorf("the audit says %v, want something about %q", err, c.want)
				}
			})
		})
	}
}

// What a hold leaves behind may be sold again when its time is over, not before.
func TestLedgerLetsHoldsEnd(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := NewLedger(1, 10)
		l.Ends(1, time.Now().Add(time.Second))
		if err := l.Granted(1, []int{4, 5}); err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Second - 2*clockStep)
		if l.Granted(2, []int{5, 6}) == nil {
			t.Error("the ledger accepts a seat that is held for another moment")
		}
		if got := l.State(4); got != Held {
			t.Errorf("the seat is %v", got)
		}
		time.Sleep(2 * clockStep)
		if got := l.State(4); got != Free {
			t.Errorf("after its time the seat is %v", got)
		}
		if err := l.Granted(3, []int{4, 5}); err != nil {
			t.Error(err)
		}
		if l.Booked(1, []int{4, 5}) == nil {
			t.Error("the ledger accepts a booking of seats that were sold again")
		}
		if err := l.Booked(3, []int{4, 5}); err != nil {
			t.Error(err)
		}
	})
}

// A hold that is not what its receipt says is found by its name.
func TestAuditReadsReceipts(t *testing.T) {
	f := newFake(none)
	if err := f.Create(t.Context(), 1, 100); err != nil {
		t.Fatal(err)
	}
	c, err := f.Dial(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if err := c.Do(t.Context(), []Request{{Op: Hold, Event: 1, Number: 5, Seats: []int{1, 2}}}, make([]Answer, 1)); err != nil {
		t.Fatal(err)
	}
	l := NewLedger(1, 100)
	if err := l.Granted(5, []int{1, 2}); err != nil {
		t.Fatal(err)
	}
	good := Receipt{Event: 1, Number: 5, Seats: []int{1, 2}}
	if err := Audit(t.Context(), f, []*Ledger{l}, []Receipt{good}); err != nil {
		t.Fatal(err)
	}
	for want, bad := range map[string]Receipt{
		"hold 6 is free, acknowledged was held":   {Event: 1, Number: 6, Seats: []int{1, 2}},
		"hold 5 is held, acknowledged was booked": {Event: 1, Number: 5, Seats: []int{1, 2}, Booked: true},
		"has seats [1 2], acknowledged were [1]":  {Event: 1, Number: 5, Seats: []int{1}},
	} {
		err := Audit(t.Context(), f, []*Ledger{l}, []Receipt{good, bad})
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("the audit says %v, want something about %q", err, want)
		}
	}
}

// A hold whose seats are taken, but by somebody else, is found by its name only.
func TestAuditFindsAnotherName(t *testing.T) {
	f := newFake(rename)
	if err := f.Create(t.Context(), 1, 100); err != nil {
		t.Fatal(err)
	}
	c, err := f.Dial(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if err := c.Do(t.Context(), []Request{{Op: Hold, Event: 1, Number: 5, Seats: []int{1, 2}}}, make([]Answer, 1)); err != nil {
		t.Fatal(err)
	}
	l := NewLedger(1, 100)
	if err := l.Granted(5, []int{1, 2}); err != nil {
		t.Fatal(err)
	}
	if err := Audit(t.Context(), f, []*Ledger{l}, nil); err != nil {
		t.Fatalf("the map alone: %v", err)
	}
	err = Audit(t.Context(), f, []*Ledger{l}, []Receipt{{Event: 1, Number: 5, Seats: []int{1, 2}}})
	if err == nil || !strings.Contains(err.Error(), "hold 5 is free, acknowledged was held") {
		t.Errorf("the audit says %v", err)
	}
}

// The ledger refuses what no sequence of acknowledged requests can be.
func TestLedgerRefuses(t *testing.T) {
	l := NewLedger(1, 10)
	if err := l.Granted(1, []int{0, 1}); err != nil {
		t.Fatal(err)
	}
	for what, err := range map[string]error{
		"a seat that is held":               l.Granted(2, []int{1}),
		"a seat that does not exist":        l.Granted(2, []int{10}),
		"a booking by another hold":         l.Booked(2, []int{0}),
		"a release by another hold":         l.Returning(2, []int{0}),
		"a map that says that it is free":   l.Compare(make([]State, 10)),
		"a map with too few seats":          l.Compare(make([]State, 9)),
		"a map where a seat is sold to all": l.Compare([]State{Held, Held, Booked, 0, 0, 0, 0, 0, 0, 0}),
	} {
		if err == nil {
			t.Errorf("the ledger accepts %s", what)
		}
	}
	if err := l.Compare([]State{Held, Held, 0, 0, 0, 0, 0, 0, 0, 0}); err != nil {
		t.Error(err)
	}
}
