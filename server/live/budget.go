package live

import (
	"slices"
	"sync"
	"time"
)

const (
	// overheadSpan is the time over which processor time that no frame accounts for
	// (those who come and go, heartbeats, the poller) is averaged.
	overheadSpan = 2 * time.Second
	// leastShare is how much of the budget is for frames, whatever the overhead is.
	leastShare = 0.1
)

// A budget decides how long topics pause between frames, so that pushing takes no
// more processor time than it may. What topics do not use is for those that want
// more, and none of these gets more than another. Safe for all goroutines.
type budget struct {
	cores float64
	least time.Duration // shortest interval

	mu       sync.Mutex
	demands  map[*Topic]float64 // cores that topics with news would take at the shortest interval
	since    time.Duration      // begin of the overhead's span
	spent    time.Duration      // overhead in this span
	overhead float64            // cores, in the last span
}

func newBudget(cores float64, least time.Duration) *budget {
	return &budget{cores: cores, least: least, demands: make(map[*Topic]float64)}
}

// interval is the time from the begin of a topic's frame, which has cost so much, to
// the begin of its next one.
func (b *budget) interval(t *Topic, cost time.Duration) time.Duration {
	b.mu.Lock()
	defer b.mu.Unlock()
	demand := cost.Seconds() / b.least.Seconds()
	if demand <= 0 {
		delete(b.demands, t)
		return b.least
	}
	b.demands[t] = demand
	share := min(demand, b.levelLocked())
	return max(b.least, time.Duration(cost.Seconds()/share*float64(time.Second)))
}

// levelLocked is what a topic gets at most, so that all together get what there is.
func (b *budget) levelLocked() float64 {
	left := max(b.cores-b.overhead, b.cores*leastShare)
	demands := make([]float64, 0, len(b.demands))
	for _, d := range b.demands {
		demands = append(demands, d)
	}
	slices.Sort(demands)
	for i, d := range demands {
		share := left / float64(len(demands)-i)
		if d > share {
			return share
		}
		left -= d
	}
	return max(left, demands[len(demands)-1]) // everybody gets what he wants
}

// forget takes a topic out.
func (b *budget) forget(t *Topic) {
	b.mu.Lock()
	defer b.mu.Unlock()
	delete(b.demands, t)
}

// extra counts processor time that no frame accounts for.
func (b *budget) extra(cost, now time.Duration) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.spent += cost
	if span := now - b.since; span >= overheadSpan {
		b.overhead = b.spent.Seconds() / span.Seconds()
		b.since, b.spent = now, 0
	}
}
