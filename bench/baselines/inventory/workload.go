package inventory

import (
	"context"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
)

// A script says what the slots of a connection ask, one after the other. Its
// methods are called by that connection's goroutine.
type script interface {
	// next fills slot's next request, of which everything is zero but Seats, an
	// empty slice to append to.
	next(slot int, r *Request) error
	// done takes the answer to it and tells how many operations of the workload it
	// completed. An error ends the run.
	done(slot int, r *Request, a *Answer) (operations int, err error)
	// receipts are what the audit asks for by name.
	receipts() []Receipt
}

// A show is a workload set up on an inventory.
type show interface {
	open(ctx context.Context)
	script(conn int) script
	close() // after the last answer
	ledgers() []*Ledger
}

type workload struct {
	name  string
	about string
	stage func(context.Context, Inventory, Options) (show, error)
}

// workloads are those of `usher bench` by the same names, in the order in which
// tables show them; onsale is a small one, without a waiting room. A further one is
// a further line.
var workloads = []workload{
	{"hold", "hold 2 neighbouring seats of an event; the next event when it is full", newHoldShow},
	{"stampede", "hold 2 random seats of an event that is 99.9 % taken", newStampedeShow},
	{"cycle", "hold 2 neighbouring seats and confirm them; the next event when it is full", newCycleShow},
	{"best", "hold the best 4 together in a map 60 % full at random, give them back later", newBestShow},
	{"map", "read the whole seat map of an event that is half taken at random", newMapShow},
	{"onsale", "buyers of 2 seats until an event is sold out, who race for good rows, pay, give back or walk away", newOnsaleShow},
}

// Workloads are the names of all workloads.
func Workloads() []string {
	var names []string
	for _, w := range workloads {
		names = append(names, w.name)
	}
	return names
}

// About says what a workload does.
func About(name string) string {
	for _, w := range workloads {
		if w.name == name {
			return w.about
		}
	}
	return ""
}

func find(name string) (workload, error) {
	i := slices.IndexFunc(workloads, func(w workload) bool { return w.name == name })
	if i < 0 {
		return workload{}, fmt.Errorf("no workload %q; there are %s", name, strings.Join(Workloads(), ", "))
	}
	return workloads[i], nil
}

// numbers gives hold numbers that no other stream gives: those of set-up are
// stream 0, those of connection i stream i+1.
type numbers struct{ last uint64 }

func newNumbers(stream int) *numbers { return &numbers{uint64(stream) << 40} }

func (n *numbers) next() uint64 {
	n.last++
	return n.last
}

func newRand(o Options, stream int) *rand.Rand {
	return rand.New(rand.NewPCG(o.Seed, uint64(stream)))
}

// closed is embedded by shows that have nothing to do while they run.
type closed struct{}

func (closed) open(context.Context) {}
func (closed) close()               {}
