package scenario

import (
	"fmt"
	"math"
	"sort"
	"time"
)

// rates are the three parts of the arrival curve, in shares of all users per
// second of the on-sale.
type rates struct {
	first  float64 // at the beginning
	last   float64 // just before opening
	spike  float64 // what opening adds at first
	tail   float64 // evenly after opening
	before float64 // seconds
	after  float64 // seconds
	half   float64 // seconds
}

// rates follows the three parts from the shares that they have to add up to.
func (a Arrivals) rates() rates {
	r := rates{before: a.Before.Seconds(), after: a.After.Seconds(), half: a.HalfLife.Seconds()}
	r.first = 2 * a.Early / (r.before * (1 + a.Ramp))
	r.last = r.first * a.Ramp
	// Just after opening the rate is Spike times last: what the spike adds, and
	// the tail, which is whoever is left over. Both unknowns are linear.
	mass := r.half / math.Ln2 * (1 - math.Exp2(-r.after/r.half)) // of a spike of 1
	r.spike = (r.last*a.Spike*r.after - (1 - a.Early)) / (r.after - mass)
	r.tail = r.last*a.Spike - r.spike
	return r
}

func (a Arrivals) check() error {
	if !(a.Early > 0 && a.Early < 1) {
		return fmt.Errorf("arrivals.early is %v; want a share above 0 and below 1", a.Early)
	}
	if !(a.Ramp >= 1 && a.Ramp <= 1000) {
		return fmt.Errorf("arrivals.ramp is %v; want 1 to 1000", a.Ramp)
	}
	if !(a.Spike >= 1 && a.Spike <= 1000) {
		return fmt.Errorf("arrivals.spike is %v; want 1 to 1000", a.Spike)
	}
	r := a.rates()
	if r.tail < 0 {
		return fmt.Errorf("a spike of %v with a half-life of %v brings more people than come after opening: "+
			"lower arrivals.spike, half_life or early", a.Spike, a.HalfLife)
	}
	if r.spike < 0 {
		return fmt.Errorf("with a spike of %v not all people can come within %v after opening, for the rate only falls: "+
			"raise arrivals.spike, after or early", a.Spike, a.After)
	}
	return nil
}

// Rate is how many of a million users come in a second of the on-sale at t,
// which is counted from opening.
func (a Arrivals) Rate(t time.Duration) float64 {
	r, s := a.rates(), t.Seconds()
	switch {
	case s < -r.before || s > r.after:
		return 0
	case s < 0:
		return 1e6 * (r.first + (r.last-r.first)*(s+r.before)/r.before)
	}
	return 1e6 * (r.spike*math.Exp2(-s/r.half) + r.tail)
}

// share is which part of all users has come by s seconds after opening.
func (r rates) share(s float64) float64 {
	x := min(s, 0) + r.before
	sum := r.first*x + (r.last-r.first)*x*x/(2*r.before)
	if s > 0 {
		sum += r.spike*r.half/math.Ln2*(1-math.Exp2(-s/r.half)) + r.tail*s
	}
	return sum
}

// curveSteps is how finely a Curve is tabulated on either side of opening: an
// hour in steps of less than a second.
const curveSteps = 4096

// A Curve turns a number in [0,1) into the time of an arrival. Immutable.
type Curve struct {
	at    []float64 // seconds after opening
	share []float64 // of all users who have come by then; rising
}

// Curve tabulates the arrivals.
func (a Arrivals) Curve() *Curve {
	r := a.rates()
	c := new(Curve)
	add := func(s float64) {
		c.at = append(c.at, s)
		c.share = append(c.share, r.share(s))
	}
	for i := range curveSteps {
		add(-r.before * float64(curveSteps-i) / curveSteps)
	}
	for i := range curveSteps + 1 {
		// Closer steps where the spike is.
		x := float64(i) / curveSteps
		add(r.after * x * x)
	}
	return c
}

// Arrival is when the user comes who has u, counted from opening. Users whose u
// are even in [0,1) come as the curve says.
func (c *Curve) Arrival(u float64) time.Duration {
	i := sort.SearchFloat64s(c.share, u)
	switch {
	case i == 0:
		return seconds(c.at[0])
	case i == len(c.share):
		return seconds(c.at[i-1])
	}
	low, high := c.share[i-1], c.share[i]
	part := (u - low) / (high - low)
	return seconds(c.at[i-1] + part*(c.at[i]-c.at[i-1]))
}

func seconds(s float64) time.Duration { return time.Duration(s * float64(time.Second)) }
