package raftlog

import (
	"context"
	"maps"
	"slices"
	"time"

	"github.com/hashicorp/raft"
)

// defaultBeat is how often heartbeats go out unless PeerConfig.BeatEvery says
// otherwise.
const defaultBeat = 200 * time.Millisecond

// beat lets the heartbeats of all groups go, at intervals of BeatEvery: one write to
// each node carries all of them. Then it asks raft for the next ones. They are made
// when these have been answered, and wait for the next beat.
//
// Left alone, raft makes the next heartbeat for a follower 60 to 120 ms after the
// last was answered, each by a timer of its own. To wake a process that sleeps
// costs much more than to send a heartbeat, and these timers were more than a third
// of what idle nodes woke up for. They still run, but nearly never to their ends;
// if nobody beats, the heartbeats come by themselves.
func (p *Peers) beat() {
	for inStep(p.ctx, p.c.BeatEvery) {
		for _, l := range p.allLinks() {
			if s, _, _ := l.get(); s != nil {
				s.out.release()
			}
		}
		for _, t := range p.allReplicas() {
			t.beat()
		}
	}
}

// UntilStep is how long it is until the time of day is a multiple of every. What a node
// does again and again it does then, so that it wakes up once for all of it, and
// when messages of other nodes are likely to come, too: waking up is most of what an
// idle node costs.
func UntilStep(every time.Duration) time.Duration {
	return every - time.Duration(time.Now().UnixNano())%every
}

// inStep waits until then; false: ctx has ended.
func inStep(ctx context.Context, every time.Duration) bool {
	timer := time.NewTimer(UntilStep(every))
	defer timer.Stop()
	select {
	case <-timer.C:
		return ctx.Err() == nil
	case <-ctx.Done():
		return false
	}
}

func (p *Peers) allReplicas() []*PeerTransport {
	p.mu.Lock()
	defer p.mu.Unlock()
	return slices.Collect(maps.Values(p.replicas))
}

// beat asks raft for heartbeats, if it has sent any since it was last asked: then it
// leads.
func (t *PeerTransport) beat() {
	if ask := t.onBeat.Load(); ask != nil && t.beating.Swap(false) {
		(*ask)()
	}
}

// noteContact notes whether a replica has answered a heartbeat. One that does again, or
// for the first time after it did not, is likely to lack something.
func (t *PeerTransport) noteContact(id raft.ServerID, answered bool) {
	t.mu.Lock()
	back := answered && t.lost[id]
	if answered {
		delete(t.lost, id)
	} else {
		t.lost[id] = true
	}
	t.mu.Unlock()
	if told := t.onBack.Load(); back && told != nil {
		(*told)()
	}
}

// beater returns a function that has raft send heartbeats at once if it leads. When
// its heartbeat timeout becomes shorter, a leader sends some (ReloadConfig and
// leaderNotifyCh in 1.7.3), so the function makes it longer by a nanosecond and
// shorter again. It never waits, which VerifyLeader might, and so would raft for the
// room to note the answers.
//
// A replica that does not lead looks at this whether it has heard of its leader
// within the timeout, as it does at intervals anyway.
func beater(r *raft.Raft) func() {
	usual := r.ReloadableConfig()
	longer := usual
	longer.HeartbeatTimeout++
	longer.ElectionTimeout++ // which must not be less
	return func() {
		// Neither can fail: raft has started with the same values, give or take a
		// nanosecond.
		_ = r.ReloadConfig(longer)
		_ = r.ReloadConfig(usual)
	}
}
