package bench

import "testing"

// TestLatenciesOfSightings works out by hand what the report must say: changes 1 to 3
// acknowledged at 100, 110 and 120; one subscriber is told of 1 and 2 at 150 and of 3
// at 200, the other of all three at 300.
func TestLatenciesOfSightings(t *testing.T) {
	p := LivePart{
		Subscribers: true,
		changes:     []change{{3, 119, 120}, {1, 99, 100}, {2, 109, 110}},
		seen: []Sighting{
			{From: 0, To: 2, First: 150, At: []int{1}},
			{From: 2, To: 3, First: 200, At: []int{1}},
			{From: 0, To: 3, First: 299, At: []int{0, 1}},
		},
	}
	p.latencies(2)
	// To each: 50, 40, 80, 200, 190, 180; to the last: 200, 190, 180.
	if p.P50Ms != 180 || p.P99Ms != 200 || p.LastP50Ms != 190 || p.LastP99Ms != 200 || p.Missed != 0 {
		t.Errorf("%+v", p)
	}
	p.latencies(3)
	if p.Missed != 3 {
		t.Errorf("%d changes are missed by a third subscriber, want 3", p.Missed)
	}
}
