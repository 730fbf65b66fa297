package onsale

import (
	"cmp"
	"math"
	"slices"

	"github.com/usher-seats/usher/bench/audit"
	"github.com/usher-seats/usher/bench/report"
)

const (
	// fairnessSample is how many tickets of each kind correlations are computed of.
	fairnessSample = 50_000
	// fairnessPoints is how many of them are drawn.
	fairnessPoints = 1_500
)

// fairness compares orders, of the event that most people wanted.
func (r *run) fairness() report.Fairness {
	var f report.Fairness
	if !r.s.Room.Enabled {
		return f
	}
	e := r.events[0]
	var early, late int
	for t := range e.tickets(r.crowd) {
		if t.Early {
			early++
		} else {
			late++
		}
	}
	var earlyAt, lateAt int
	var drawn [][2]float64
	var joined []audit.Ticket
	for t := range e.tickets(r.crowd) {
		switch {
		case t.Early:
			if place, ok := e.placeOf(t.Number, true); ok && earlyAt%(early/fairnessSample+1) == 0 {
				drawn = append(drawn, [2]float64{float64(t.Number), float64(place)})
			}
			earlyAt++
		default:
			if lateAt%(late/fairnessSample+1) == 0 {
				joined = append(joined, t)
			}
			lateAt++
		}
	}
	f.Early, f.EarlyCorrelation = spread(drawn), correlation(drawn)
	// By when they were sent: what the visitor sees as his turn.
	slices.SortStableFunc(joined, func(a, b audit.Ticket) int { return cmp.Compare(a.Sent, b.Sent) })
	order := make([][2]float64, len(joined))
	for i, t := range joined {
		order[i] = [2]float64{float64(i), float64(t.Number)}
	}
	f.Late, f.LateCorrelation = spread(order), correlation(order)
	var admitted [][2]float64
	for _, p := range r.ledger.passes(e) {
		admitted = append(admitted, [2]float64{p.Acked.Seconds(), float64(p.Number)})
	}
	f.Admitted = spread(admitted)
	return f
}

// spread is an even sample of at most fairnessPoints.
func spread(list [][2]float64) [][2]float64 {
	every := len(list)/fairnessPoints + 1
	var points [][2]float64
	for i := 0; i < len(list); i += every {
		points = append(points, list[i])
	}
	return points
}

// correlation is Spearman's: that of the ranks. 0 for fewer than two points.
func correlation(list [][2]float64) float64 {
	n := len(list)
	if n < 2 {
		return 0
	}
	var ranks [2][]float64
	for k := range ranks {
		order := make([]int, n)
		for i := range order {
			order[i] = i
		}
		slices.SortStableFunc(order, func(a, b int) int { return cmp.Compare(list[a][k], list[b][k]) })
		ranks[k] = make([]float64, n)
		for rank, i := range order {
			ranks[k][i] = float64(rank)
		}
	}
	mean := float64(n-1) / 2
	var both, square float64
	for i := range n {
		both += (ranks[0][i] - mean) * (ranks[1][i] - mean)
		square += (ranks[0][i] - mean) * (ranks[0][i] - mean)
	}
	if square == 0 {
		return 0
	}
	return math.Round(both/square*1e4) / 1e4
}
