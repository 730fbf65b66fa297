package raftlog

import (
	"context"
	"errors"
	"hash/fnv"
	"log/slog"
	"strconv"
	"sync/atomic"
	"time"

	"github.com/hashicorp/raft"
)

// A snapshotter takes a group's snapshots: when enough log has been applied
// since the last one, and when told to. Groups of a node take turns, so that the
// disk sees one snapshot at a time, and the bytes at which a group takes its
// next one differ by group and node, so that neither all groups of a node nor
// all replicas of a group want theirs at the same moment.
type snapshotter struct {
	fsm   *fsm
	raft  interface{ Snapshot() raft.SnapshotFuture }
	turn  chan struct{} // the node's: holds one token
	every int64         // bytes of log
	log   *slog.Logger

	next atomic.Int64 // bytes since the last snapshot at which the next is taken
	want chan struct{}
	asks chan chan error
	stop chan struct{}
	done chan struct{}

	taken, failed atomic.Uint64
	lasted        atomic.Int64 // duration of the last snapshot
	at            atomic.Int64 // when it was taken, Unix nanoseconds
}

func (s *snapshotter) init(every int64, node string, group uint64) {
	h := fnv.New32a()
	h.Write([]byte(node))
	h.Write([]byte(strconv.FormatUint(group, 10)))
	s.every = every - every/8 + every/4*int64(h.Sum32()%256)/256
	s.next.Store(s.every)
	s.want = make(chan struct{}, 1)
	s.asks = make(chan chan error)
	s.stop = make(chan struct{})
	s.done = make(chan struct{})
}

// logged is told by the applier how many bytes of entries it has applied since
// the last snapshot.
func (s *snapshotter) logged(bytes int64) {
	if bytes < s.next.Load() {
		return
	}
	select {
	case s.want <- struct{}{}:
	default:
	}
}

// run is the snapshotter's goroutine.
func (s *snapshotter) run() {
	defer close(s.done)
	for {
		select {
		case <-s.want:
			if s.fsm.logBytes() < s.next.Load() {
				continue // it was wanted while the last one was being taken
			}
			if err := s.take(); err != nil {
				s.log.Warn("snapshot failed, will be tried again", "error", err)
			}
		case ask := <-s.asks:
			ask <- s.take()
		case <-s.stop:
			return
		}
	}
}

// take takes a snapshot when it is the group's turn.
func (s *snapshotter) take() error {
	select {
	case <-s.turn:
	case <-s.stop:
		return errAbandoned
	}
	defer func() { s.turn <- struct{}{} }()

	start := time.Now()
	err := s.raft.Snapshot().Error()
	switch {
	case errors.Is(err, raft.ErrNothingNewToSnapshot):
		return nil
	case err != nil:
		// Not at every entry from now on: when some more log has come.
		s.failed.Add(1)
		s.next.Store(s.fsm.logBytes() + s.every/8)
		return err
	}
	s.fsm.stored()
	s.next.Store(s.every)
	s.taken.Add(1)
	s.lasted.Store(int64(time.Since(start)))
	s.at.Store(start.UnixNano())
	return nil
}

// request takes a snapshot now, unless nothing was applied since the last one.
func (s *snapshotter) request(ctx context.Context) error {
	if s.fsm.applied.Load() == s.fsm.snapIndex.Load() {
		return nil
	}
	ask := make(chan error, 1)
	select {
	case s.asks <- ask:
	case <-s.stop:
		return errAbandoned
	case <-ctx.Done():
		return ctx.Err()
	}
	select {
	case err := <-ask:
		return err
	case <-ctx.Done():
		return ctx.Err()
	}
}
