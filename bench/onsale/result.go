package onsale

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/HdrHistogram/hdrhistogram-go"

	"github.com/usher-seats/usher/bench/report"
)

// bytesPerUser is what a user costs here: crowd's arrays and the index of numbers.
const bytesPerUser = 4 + 1 + 4 + 16 + 1 + 4 + 4 + 4 + 4

// result audits and gathers everything.
func (r *run) result() *report.Result {
	took := r.now()
	res := &report.Result{
		Workload: "onsale", Scenario: r.s.Name, About: r.s.About, Users: r.s.Users, Events: r.s.Events.Count,
		SeatsPerEvent: r.s.Events.Seats, WaitingRoom: r.s.Room.Enabled, Seed: r.s.Seed, Compression: r.s.Compression,
		Opening: r.open.Seconds(), Seconds: took.Seconds(), StartedAt: r.start.UTC().Truncate(time.Second),
		Machine: r.machine, Fairness: r.fairness(),
	}
	began := time.Now()
	r.audit(res)
	res.AuditSeconds = time.Since(began).Seconds()

	m := newMeter(r.end)
	var t tally
	for _, l := range r.lanes {
		l.mu.Lock()
		m.merge(l.meter)
		t.add(&l.tally)
		l.mu.Unlock()
	}
	r.visits.mu.Lock()
	m.merge(r.visits.meter)
	r.visits.mu.Unlock()
	r.latencies(res, m)
	r.outcomes(res, &t)
	r.series(res, m, int(took/time.Second))
	res.Load.BytesUser = bytesPerUser
	res.Load.Streams, res.Load.Frames = r.streams.opened.Load(), r.streams.frames.Load()
	if n := r.streams.refused.Load(); n > 0 {
		res.Notes = append(res.Notes, fmt.Sprintf("%d users who would have watched through a stream polled, for there were as many streams as the scenario allows", n))
	}
	if n := r.streams.broken.Load(); n > 0 {
		res.Notes = append(res.Notes, fmt.Sprintf("%d streams ended before their users had what they waited for", n))
	}
	return res
}

var carriers = [2]string{"binary", "http"}

// latencies summarises the requests.
func (r *run) latencies(res *report.Result, m *meter) {
	all := hdrhistogram.New(1, maxLatencyMicros, latencyDigits)
	for o := range m.latency {
		for way, h := range m.latency[o] {
			if h == nil {
				continue
			}
			all.Merge(h)
			res.Ops = append(res.Ops, report.Op{
				Name: op(o).String(), Carrier: carriers[way], Count: h.TotalCount(),
				P50: h.ValueAtQuantile(50), P90: h.ValueAtQuantile(90), P99: h.ValueAtQuantile(99), P999: h.ValueAtQuantile(99.9),
				Max: h.Max(), Curve: curve(h),
			})
		}
	}
	res.Operations = m.total
	res.RequestsPerUser = float64(m.total) / float64(r.s.Users)
	res.OpsPerSecond = float64(m.total) / res.Seconds
	res.P50Micros, res.P90Micros = all.ValueAtQuantile(50), all.ValueAtQuantile(90)
	res.P99Micros, res.P999Micros, res.MaxMicros = all.ValueAtQuantile(99), all.ValueAtQuantile(99.9), all.Max()
	for k, n := range m.errors {
		res.Errors += n
		res.Mishaps = append(res.Mishaps, report.Mishap{Op: k.op.String(), Status: k.status.String(), Count: n})
	}
	slices.SortFunc(res.Mishaps, func(a, b report.Mishap) int {
		return cmp.Or(cmp.Compare(b.Count, a.Count), cmp.Compare(a.Op, b.Op), cmp.Compare(a.Status, b.Status))
	})
}

// curve is a histogram at the percentiles that HdrHistogram draws: each half of
// what is left in five steps.
func curve(h *hdrhistogram.Histogram) [][2]float64 {
	const steps = 5
	var points [][2]float64
	for left, done := 100.0, 0.0; ; left /= 2 {
		for i := range steps {
			at := done + left/2*float64(i)/steps
			points = append(points, [2]float64{at, float64(h.ValueAtQuantile(at))})
		}
		done += left / 2
		if left/100*float64(h.TotalCount()) < 1 {
			return append(points, [2]float64{100, float64(h.Max())})
		}
	}
}

// outcomes are what became of users.
func (r *run) outcomes(res *report.Result, t *tally) {
	vs := r.visits
	vs.mu.Lock()
	defer vs.mu.Unlock()
	v := &vs.tally
	add := func(name string, n int64, about string) {
		res.Outcomes = append(res.Outcomes, report.Count{Name: name, Count: n, About: about})
	}
	add("came", t.arrived, "")
	if r.s.Room.Enabled {
		add("got a ticket", t.tickets, "")
		add("turned away", t.turnedAway+t.soldOut, "told that all is sold, before or while they waited")
		add("gave up", t.gaveUp+t.saidGoodbye, fmt.Sprintf("%s of them told the room, which called %s of the others in vain", thousands(t.saidGoodbye), thousands(t.unmet)))
		add("did not come", t.noShows, "were called in time and did not come")
		add("lapsed", t.lapsed+v.lapsed, "came too late, or learned that they would")
		add("were let in", v.admitted, "")
		if v.refused > 0 {
			add("refused at the door", v.refused, "the room had closed, or the number had been given back")
		}
	}
	add("visits", v.begun, fmt.Sprintf("%s were under way at the end", thousands(int64(vs.inside))))
	add("races lost", v.races, "somebody else had the seats, or there were not as many")
	add("found nothing", v.nothing, "left without seats")
	add("went away", v.abandoned, "left a hold to expire")
	add("gave back", v.released, "released a hold")
	add("booked", v.booked, fmt.Sprintf("%s seats", thousands(v.seats)))
	add("paid late", v.late, fmt.Sprintf("of all bookings %s were granted anew after the hold had expired", thousands(v.reacquired)))
	add("lost", v.lost, "paid after the seats had gone to somebody else")
	add("came back", v.returned, "booked returned seats on a later look")
}

func thousands(n int64) string {
	s := fmt.Sprint(n)
	for i := len(s) - 3; i > 0; i -= 3 {
		s = s[:i] + "," + s[i:]
	}
	return s
}

// series are the run over time.
func (r *run) series(res *report.Result, m *meter, seconds int) {
	s := &res.Series
	for i := range min(seconds+1, len(m.seconds)) {
		x := &m.seconds[i]
		var answers int64
		for _, n := range x.answers {
			answers += int64(n)
		}
		s.Second = append(s.Second, float64(i))
		s.Arrivals = append(s.Arrivals, float64(x.arrivals))
		s.Answers = append(s.Answers, float64(answers))
		s.P50 = append(s.P50, x.quantile(0.5))
		s.P99 = append(s.P99, x.quantile(0.99))
		res.PeakPerSecond = max(res.PeakPerSecond, answers)
	}
	r.samples.mu.Lock()
	defer r.samples.mu.Unlock()
	r.sampled(res, r.samples.list)
	for i := range r.o.Metrics {
		before, after := r.samples.before[i], r.samples.after[i]
		n := report.Node{
			Name:        fmt.Sprintf("node %d", i+1),
			CPUSeconds:  after["process_cpu_seconds_total"] - before["process_cpu_seconds_total"],
			ResidentMiB: after["process_resident_memory_bytes"] / (1 << 20),
			Entries:     int64(after["usher_group_entries_total"] - before["usher_group_entries_total"]),
			Snapshots:   int64(after["usher_group_snapshots_total"] - before["usher_group_snapshots_total"]),
		}
		for _, x := range r.samples.list {
			n.PeakMiB = max(n.PeakMiB, x.nodeMiB[i])
		}
		res.Nodes = append(res.Nodes, n)
	}
}

// sampled spreads the samples over the seconds; a second that has none repeats the
// one before.
func (r *run) sampled(res *report.Result, list []sample) {
	s := &res.Series
	s.NodeCPU, s.NodeMiB = make([][]float64, len(r.o.Metrics)), make([][]float64, len(r.o.Metrics))
	at := 0
	for i := range s.Second {
		for at+1 < len(list) && list[at+1].at <= time.Duration(i)*time.Second {
			at++
		}
		if len(list) == 0 {
			return
		}
		x, was := &list[at], &list[max(at-1, 0)]
		span := (x.at - was.at).Seconds()
		per := func(is, was float64) float64 {
			if span <= 0 {
				return 0
			}
			return (is - was) / span
		}
		s.Waiting = append(s.Waiting, float64(x.waiting))
		s.Calls = append(s.Calls, per(float64(x.serving), float64(was.serving)))
		s.Inside = append(s.Inside, float64(x.inside))
		s.Free = append(s.Free, float64(x.counts.Free))
		s.Held = append(s.Held, float64(x.counts.Held))
		s.Booked = append(s.Booked, float64(x.counts.Booked))
		for n := range r.o.Metrics {
			s.NodeCPU[n] = append(s.NodeCPU[n], per(x.nodeCPU[n], was.nodeCPU[n]))
			s.NodeMiB[n] = append(s.NodeMiB[n], x.nodeMiB[n])
		}
		s.LoadCPU = append(s.LoadCPU, per(x.ownCPU, was.ownCPU))
		s.LoadMiB = append(s.LoadMiB, x.ownMiB)
	}
	for i := range list {
		res.Load.PeakMiB = max(res.Load.PeakMiB, list[i].ownMiB)
	}
	if n := len(list); n > 1 {
		res.Load.CPUSeconds = list[n-1].ownCPU - list[0].ownCPU
	}
}

// auditTimeout bounds reading back what the server has.
const auditTimeout = 5 * time.Minute

// audit reads back what the server has and holds it against the ledger.
func (r *run) audit(res *report.Result) {
	ctx, cancel := context.WithTimeout(r.ctx, auditTimeout)
	defer cancel()
	rep, notes, err := r.check(ctx)
	res.Notes = append(res.Notes, notes...)
	res.Notes = append(res.Notes, fmt.Sprintf("the slowest change took %v, which is what the audit's rule late allows a commit", r.ledger.slowest.Round(time.Millisecond)))
	switch {
	case err != nil:
		res.Audit = "failed: " + err.Error()
	case rep.OK():
		res.Audit, res.Rules = "ok", rep.Rules
	default:
		res.Audit, res.Rules = "failed: "+rep.Error(), rep.Rules
	}
}
