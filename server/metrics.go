package server

import (
	"strconv"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/common/expfmt"
	"github.com/valyala/fasthttp"

	"github.com/usher-seats/usher/wire"
)

// newMetrics makes a registry of its own: nothing that a library puts into the
// default one is served by accident.
func newMetrics(n *Node) *prometheus.Registry {
	r := prometheus.NewRegistry()
	r.MustRegister(
		collectors.NewGoCollector(),
		collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}),
		nodeCollector{n},
	)
	return r
}

// metrics serves GET /metrics in Prometheus's text format.
func (q *request) metrics() *problem {
	families, err := q.f.metrics.Gather()
	if err != nil {
		q.f.log.Error("gathering metrics", "request", q.id, "error", err)
		return httpProblem(codeInternal)
	}
	format := expfmt.NewFormat(expfmt.TypeTextPlain)
	q.ctx.SetContentType(string(format))
	q.ctx.Response.Header.Set(fasthttp.HeaderCacheControl, "no-store")
	e := expfmt.NewEncoder(q.ctx.Response.BodyWriter(), format)
	for _, f := range families {
		if err := e.Encode(f); err != nil {
			q.f.log.Error("encoding metrics", "request", q.id, "error", err)
			q.ctx.Response.ResetBody()
			return httpProblem(codeInternal)
		}
	}
	return nil
}

// A nodeCollector reads, when somebody asks, the counters that connections,
// groups and shards keep for themselves. So a metric costs the hot path nothing
// beyond the counter it had anyway.
type nodeCollector struct{ n *Node }

// A metric is one family: its name, help and labels, and whether it only grows.
type metric struct {
	desc *prometheus.Desc
	kind prometheus.ValueType
}

func counter(name, help string, labels ...string) metric {
	return metric{prometheus.NewDesc("usher_"+name, help, labels, nil), prometheus.CounterValue}
}

func gauge(name, help string, labels ...string) metric {
	return metric{prometheus.NewDesc("usher_"+name, help, labels, nil), prometheus.GaugeValue}
}

func send[T uint64 | int64 | int | float64](ch chan<- prometheus.Metric, m metric, v T, labels ...string) {
	ch <- prometheus.MustNewConstMetric(m.desc, m.kind, float64(v), labels...)
}

var (
	mRequests = counter("requests_total", "Requests of the binary protocol, records of batch frames one by one.", "kind")
	mAnswers  = counter("answers_total", "Answers of the binary protocol.", "status")
	mEarly    = counter("early_look_rejections_total", "Holds answered from the seats in memory, without the log.")
	mBytes    = counter("bytes_total", "Bytes of the binary protocol.", "direction")
	mAccepted = counter("connections_accepted_total", "Connections let in.", "listener")
	mRefused  = counter("connections_refused_total", "Connections refused because of a limit or of their hello.", "listener")
	mDropped  = counter("connections_dropped_total", "Connections that did not read their answers or sent what is no frame.", "listener")
	mOpen     = gauge("connections", "Connections open now.", "listener")

	mHTTP      = counter("http_requests_total", "HTTP requests by route and status code.", "route", "code")
	mHTTPOther = counter("http_refused_total", "HTTP requests that no route took or that could not be read.", "listener")
	mPanics    = counter("http_panics_total", "Panics while serving HTTP requests.", "listener")
	mHTTPTime  = prometheus.NewDesc("usher_http_request_duration_seconds", "Time to serve HTTP requests, from when they were read.", []string{"route"}, nil)

	mLeading    = gauge("group_leading", "1 if the group leads here.", "group")
	mTerm       = gauge("group_term", "The group's raft term.", "group")
	mApplied    = gauge("group_applied_index", "Index of the last applied entry.", "group")
	mQueuedOps  = gauge("group_queued_operations", "Operations waiting for an entry.", "group")
	mQueuedB    = gauge("group_queued_bytes", "Bytes of the operations waiting for an entry.", "group")
	mInFlight   = gauge("group_entries_in_flight", "Entries proposed and not yet decided.", "group")
	mEntries    = counter("group_entries_total", "Entries proposed here. Operations by entries is the size of a batch.", "group")
	mOps        = counter("group_operations_total", "Operations proposed here.", "group")
	mEntryBytes = counter("group_entry_bytes_total", "Bytes of entries proposed here.", "group")
	mTicks      = counter("group_ticks_total", "Entries proposed only because a hold was due.", "group")
	mBarriers   = counter("group_barriers_total", "Entries proposed only for reads and rejections.", "group")
	mPassengers = counter("group_passengers_total", "Reads and rejections answered behind an entry.", "group")
	mOverloaded = counter("group_overloaded_total", "Batches refused because the queue was full.", "group")
	mNotApplied = counter("group_not_applied_total", "Operations answered: certainly not applied.", "group")
	mUnknown    = counter("group_unknown_total", "Operations answered: may or may not be applied.", "group")
	mElections  = counter("group_elections_total", "Times the group began to lead here.", "group")
	mLogBytes   = gauge("group_log_bytes", "Bytes of entries in the group's log.", "group")
	mSnapIndex  = gauge("group_snapshot_index", "Index of the last snapshot.", "group")
	mSnapBehind = gauge("group_entries_since_snapshot", "Entries applied since the last snapshot, which a restart replays.", "group")
	mSnapTime   = gauge("group_snapshot_seconds", "Time the last snapshot took.", "group")
	mSnapshots  = counter("group_snapshots_total", "Snapshots taken here.", "group")
	mSnapFails  = counter("group_snapshot_failures_total", "Snapshots that failed here.", "group")
	mRestores   = counter("group_restores_total", "Snapshots restored here.", "group")

	mAge         = gauge("group_replica_age_seconds", "Time since the replica last heard of its leader; 0 if it leads.", "group")
	mMoves       = counter("event_moves_total", "Events that have left shards led here.")
	mMovePause   = counter("event_move_pause_seconds_total", "Time in which nobody decided for events that moved, in all.")
	mMoveLongest = gauge("event_move_pause_longest_seconds", "The longest of these times since the start.")

	mEvents  = gauge("events", "Events of the cluster.")
	mDiskLow = gauge("disk_low", "1 if the disk is nearly full and new holds are refused.")
)

// Describe sends nothing: what is collected depends on the groups there are.
func (c nodeCollector) Describe(chan<- *prometheus.Desc) {}

// Collect reads everything once.
func (c nodeCollector) Collect(ch chan<- prometheus.Metric) {
	c.binary(ch)
	c.queues(ch)
	for _, f := range []*frontend{c.n.http, c.n.admin} {
		if f != nil {
			f.collect(ch)
		}
	}
	for g := range c.n.groups.Load().all {
		collectGroup(ch, g)
	}
	if c.n.live != nil {
		collectLive(ch, c.n.live.Stats())
	}
	send(ch, mMoves, c.n.moves.done.Load())
	send(ch, mMovePause, time.Duration(c.n.moves.pause.Load()).Seconds())
	send(ch, mMoveLongest, time.Duration(c.n.moves.longest.Load()).Seconds())
	send(ch, mEvents, c.n.table().Len())
	send(ch, mDiskLow, oneIf(c.n.store.DiskLow()))
}

func (c nodeCollector) binary(ch chan<- prometheus.Metric) {
	k := &c.n.counters
	for i := range k.requests {
		if v := k.requests[i].Load(); v > 0 {
			send(ch, mRequests, v, kindName(wire.Kind(i)))
		}
	}
	for i := range k.answers {
		if v := k.answers[i].Load(); v > 0 {
			send(ch, mAnswers, v, wire.Status(i).String())
		}
	}
	const listener = "binary"
	send(ch, mEarly, k.early.Load())
	send(ch, mBytes, k.bytesIn.Load(), "in")
	send(ch, mBytes, k.bytesOut.Load(), "out")
	if l := c.n.listener; l != nil {
		l.mu.Lock()
		open := len(l.conns)
		l.mu.Unlock()
		send(ch, mOpen, open, listener)
	}
	send(ch, mAccepted, k.accepted.Load(), listener)
	send(ch, mRefused, k.refused.Load(), listener)
	send(ch, mDropped, k.dropped.Load(), listener)
}

func (f *frontend) collect(ch chan<- prometheus.Metric) {
	send(ch, mOpen, f.gate.connections(), f.name)
	send(ch, mAccepted, f.gate.accepted.Load(), f.name)
	send(ch, mRefused, f.gate.refused.Load(), f.name)
	send(ch, mHTTPOther, f.ended.Load(), f.name)
	send(ch, mPanics, f.panics.Load(), f.name)
	for name, s := range f.stats {
		s.each(func(code int, n uint64) { send(ch, mHTTP, n, name, strconv.Itoa(code)) })
		total, sum, atMost := s.latency()
		if total > 0 {
			ch <- prometheus.MustNewConstHistogram(mHTTPTime, total, sum, atMost, name)
		}
	}
}

func collectGroup(ch chan<- prometheus.Metric, g *group) {
	s := g.log.Stats()
	id := strconv.FormatUint(uint64(g.id), 10)
	send(ch, mLeading, oneIf(s.Leading), id)
	send(ch, mTerm, s.Term, id)
	send(ch, mAge, g.log.Age().Seconds(), id)
	send(ch, mApplied, s.Applied, id)
	send(ch, mQueuedOps, s.QueuedOps, id)
	send(ch, mQueuedB, s.QueuedBytes, id)
	send(ch, mInFlight, s.InFlight, id)
	send(ch, mEntries, s.Entries, id)
	send(ch, mOps, s.Ops, id)
	send(ch, mEntryBytes, s.Bytes, id)
	send(ch, mTicks, s.Ticks, id)
	send(ch, mBarriers, s.Barriers, id)
	send(ch, mPassengers, s.Passengers, id)
	send(ch, mOverloaded, s.Overloaded, id)
	send(ch, mNotApplied, s.NotApplied, id)
	send(ch, mUnknown, s.Unknown, id)
	send(ch, mElections, s.Elections, id)
	send(ch, mLogBytes, s.LogBytes, id)
	send(ch, mSnapIndex, s.SnapshotIndex, id)
	send(ch, mSnapBehind, s.Applied-min(s.Applied, s.SnapshotIndex), id)
	send(ch, mSnapTime, s.SnapshotDuration.Seconds(), id)
	send(ch, mSnapshots, s.Snapshots, id)
	send(ch, mSnapFails, s.SnapshotFailures, id)
	send(ch, mRestores, s.Restores, id)
}

func oneIf(v bool) int {
	if v {
		return 1
	}
	return 0
}

// kindNames are the kinds of requests as metrics call them.
var kindNames = map[wire.Kind]string{
	wire.KindHello: "hello", wire.KindPing: "ping", wire.KindBatch: "batch",
	wire.KindLocate: "locate", wire.KindEvents: "events", wire.KindEvent: "event", wire.KindManifest: "manifest",
	wire.KindMap: "map", wire.KindChanges: "changes", wire.KindGetHold: "get_hold",
	wire.KindHold: "hold", wire.KindHoldBest: "hold_best", wire.KindHoldArea: "hold_area",
	wire.KindExtend: "extend", wire.KindPay: "pay", wire.KindConfirm: "confirm", wire.KindRelease: "release",
	wire.KindCancel: "cancel", wire.KindExchange: "exchange", wire.KindBlock: "block", wire.KindUnblock: "unblock",
	wire.KindSetChannel: "set_channel", wire.KindSetRules: "set_rules", wire.KindCreate: "create", wire.KindDelete: "delete",
	wire.KindQueue: "queue", wire.KindSetRoom: "set_room", wire.KindDirectRoom: "direct_room",
	wire.KindJoin: "join", wire.KindAdmit: "admit", wire.KindQuit: "quit", wire.KindPlace: "place",
	wire.KindAssign: "assign", wire.KindUnassign: "unassign", wire.KindAddKey: "add_key", wire.KindDropKey: "drop_key",
}

func kindName(k wire.Kind) string {
	if name, ok := kindNames[k]; ok {
		return name
	}
	return "kind_" + strconv.Itoa(int(k))
}
