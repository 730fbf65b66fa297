package server

import (
	"strings"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/usher-seats/usher/wire"
)

// maxRoomMetrics bounds the waiting rooms that a node's metrics tell of, those of its
// shards in their order: each has a label of its own.
const maxRoomMetrics = 1000

var (
	mJoins    = counter("queue_joins_total", "Numbers of waiting rooms given out through this node.")
	mIssues   = counter("queue_issues_total", "Operations that this took. Joins by issues is how many share one.")
	mAdmitted = counter("queue_admissions_total", "Tickets exchanged for passes through this node, repetitions included.")
	mNotYet   = counter("queue_early_admissions_total", "Tickets that came too early and were answered from memory, without the log.")
	mFaults   = counter("queue_bad_tickets_total", "Tickets and passes refused because of what they are.")
	mJoining  = gauge("queue_joins_waiting", "Joins that wait for their numbers.")

	mRoomState    = gauge("room_state", "1 for the state that the event's waiting room is in.", "event", "state")
	mRoomIssued   = counter("room_issued_total", "Numbers issued.", "event")
	mRoomEntries  = gauge("room_entries", "Numbers that take part in the draw.", "event")
	mRoomServing  = gauge("room_serving", "The serving number: numbers below have been called.", "event")
	mRoomInside   = gauge("room_inside", "Live passes.", "event")
	mRoomCalled   = gauge("room_called", "Numbers that are called and may still come; each has a place reserved.", "event")
	mRoomLimit    = gauge("room_limit", "Most live passes and called numbers together.", "event")
	mRoomRedeemed = counter("room_redeemed_total", "Numbers whose visitors came in.", "event")
	mRoomLapsed   = counter("room_lapsed_total", "Numbers that were called and whose visitors did not come.", "event")
	mRoomBooked   = gauge("room_booked_seats", "Seats booked with passes.", "event")
)

// queues sends what the node knows of waiting rooms. Those led here say how they
// stand, so a room's figures come from one node.
func (c nodeCollector) queues(ch chan<- prometheus.Metric) {
	k := &c.n.queue
	send(ch, mJoins, k.joins.Load())
	send(ch, mIssues, k.issues.Load())
	send(ch, mAdmitted, k.admitted.Load())
	send(ch, mNotYet, k.early.Load())
	send(ch, mFaults, k.faults.Load())
	send(ch, mJoining, c.n.joins.count())
	left := maxRoomMetrics
	for g := range c.n.groups.Load().shards {
		if !g.log.Leading() {
			continue
		}
		for e := range g.shard.Load().Events {
			entry, info := c.n.table().Event(e.ID()), e.Queue()
			if entry == nil || info == nil {
				continue
			}
			if left--; left < 0 {
				return
			}
			sendRoom(ch, strings.ToValidUTF8(entry.Key, "?"), info) // a label has to be UTF-8
		}
	}
}

func sendRoom(ch chan<- prometheus.Metric, event string, info *wire.QueueInfo) {
	send(ch, mRoomState, 1, event, info.State.String())
	send(ch, mRoomIssued, info.Issued, event)
	send(ch, mRoomEntries, info.Entries, event)
	send(ch, mRoomServing, info.Serving, event)
	send(ch, mRoomInside, int(info.Inside), event)
	send(ch, mRoomCalled, int(info.Outstanding), event)
	send(ch, mRoomLimit, int(info.Config.Limit), event)
	send(ch, mRoomRedeemed, info.Redeemed, event)
	send(ch, mRoomLapsed, info.Lapsed, event)
	send(ch, mRoomBooked, info.Booked, event)
}
