package server

import (
	"github.com/prometheus/client_golang/prometheus"

	"github.com/usher-seats/usher/server/live"
)

var (
	mLiveTopics   = gauge("live_topics", "Topics of live updates that have subscribers.")
	mLiveSubs     = gauge("live_subscribers", "Subscribers of live updates.")
	mLiveBehind   = gauge("live_subscribers_behind", "Subscribers that have not taken all there is.")
	mLiveFrames   = counter("live_frames_total", "Frames made because something had changed.")
	mLiveSent     = counter("live_frames_sent_total", "Frames written to subscribers, heartbeats included.")
	mLiveBytes    = counter("live_bytes_total", "Bytes written to subscribers.")
	mLiveSkipped  = counter("live_frames_skipped_total", "Frames that subscribers could not take; they get the changes later, merged.")
	mLiveCaughtUp = counter("live_catch_ups_total", "Merged frames made for subscribers that had missed some.")
	mLiveResyncs  = counter("live_resyncs_total", "Times that subscribers had to begin anew with the whole.")
	mLiveDropped  = counter("live_dropped_total", "Subscribers dropped because they did not read.")
	mLiveExpelled = counter("live_expelled_total", "WebSocket clients that said farewell or sent what they may not.")
	mLiveFailed   = counter("live_reads_failed_total", "Reads for live updates that no replica could answer.")
	mLiveRefused  = counter("live_refused_total", "Subscribers refused because of a limit.", "limit")
	mLiveCPU      = counter("live_cpu_seconds_total", "Processor time of pushing live updates.")
	mLiveInterval = gauge("live_interval_seconds", "The longest time between the frames of an event that changes.")
)

func collectLive(ch chan<- prometheus.Metric, s live.Stats) {
	send(ch, mLiveTopics, s.Topics)
	send(ch, mLiveSubs, s.Subscribers)
	send(ch, mLiveBehind, s.Behind)
	send(ch, mLiveFrames, s.Frames)
	send(ch, mLiveSent, s.Sent)
	send(ch, mLiveBytes, s.Bytes)
	send(ch, mLiveSkipped, s.Skipped)
	send(ch, mLiveCaughtUp, s.CaughtUp)
	send(ch, mLiveResyncs, s.Resyncs)
	send(ch, mLiveDropped, s.Dropped)
	send(ch, mLiveExpelled, s.Expelled)
	send(ch, mLiveFailed, s.Failed)
	for scope, name := range map[live.Scope]string{live.Everything: "node", live.OneTopic: "event", live.OneAddress: "address"} {
		send(ch, mLiveRefused, s.Refused[scope], name)
	}
	send(ch, mLiveCPU, s.CPU.Seconds())
	send(ch, mLiveInterval, s.Interval.Seconds())
}
