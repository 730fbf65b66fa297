package live

import (
	"math"
	"math/rand/v2"
	"testing"
	"time"
)

// TestBudgetIsKeptAndFair lets topics of any cost frame as often as they may, in
// virtual time: together they use the budget and no more, and none that wants more
// gets less than another.
func TestBudgetIsKeptAndFair(t *testing.T) {
	const least = 100 * time.Millisecond
	for seed := range uint64(50) {
		rnd := rand.New(rand.NewPCG(seed, 0))
		b := newBudget(0.1+rnd.Float64()*2, least)
		costs := make(map[*Topic]time.Duration)
		for range 1 + rnd.IntN(20) {
			costs[new(Topic)] = time.Duration(rnd.Int64N(int64(200 * time.Millisecond)))
		}
		used := make(map[*Topic]float64)
		sum, hungry, level := 0.0, 0, 0.0
		for range 2 { // the second time, all are known
			sum, hungry, level = 0, 0, 0
			for topic, cost := range costs {
				interval := b.interval(topic, cost)
				if interval < least {
					t.Fatalf("seed %d: an interval of %v", seed, interval)
				}
				used[topic] = cost.Seconds() / interval.Seconds()
				sum += used[topic]
				if interval > least {
					hungry++
					level = max(level, used[topic])
				}
			}
		}
		if sum > b.cores*1.0001 {
			t.Errorf("seed %d: %v cores are used of %v", seed, sum, b.cores)
		}
		if hungry > 0 && sum < b.cores*0.9999 {
			t.Errorf("seed %d: %d topics pause though only %v cores of %v are used", seed, hungry, sum, b.cores)
		}
		for topic, cost := range costs {
			if want := min(cost.Seconds()/least.Seconds(), level); hungry > 0 && math.Abs(used[topic]-want) > 1e-6 {
				t.Errorf("seed %d: a topic gets %v cores, want %v", seed, used[topic], want)
			}
		}
	}
}

// TestBudgetPaysOverheadFirst proves that what is not for frames is taken off, but
// never all.
func TestBudgetPaysOverheadFirst(t *testing.T) {
	b := newBudget(0.5, 100*time.Millisecond)
	topic := new(Topic)
	const cost = 400 * time.Millisecond
	if got := b.interval(topic, cost); got != 800*time.Millisecond {
		t.Errorf("without overhead %v", got)
	}
	b.extra(800*time.Millisecond, 2*time.Second) // 0.4 cores
	if got := b.interval(topic, cost); got < 3990*time.Millisecond || got > 4010*time.Millisecond {
		t.Errorf("with 0.1 cores left: %v", got)
	}
	b.extra(time.Hour, 4*time.Second)
	if got := b.interval(topic, cost); got < 7990*time.Millisecond || got > 8010*time.Millisecond {
		t.Errorf("with more overhead than budget: %v", got)
	}
}
