package onsale

import (
	"context"
	"fmt"
	"math"
	"time"

	"github.com/usher-seats/usher/client"
	"github.com/usher-seats/usher/wire"
)

// A slot is a request that waits for its answer.
type slot struct {
	user   uint32
	op     op
	repeat bool          // an attempt before may have arrived
	due    time.Duration // when it was meant to be sent
	sent   time.Duration // the first attempt
	id     wire.ID       // of ops that change something
	link   uint32        // of a free slot: the next free one
}

// A link is a lane's connection to one node. Its fields are guarded by the lane's
// mutex, but for the pipe's two directions: the lane's sender writes, the link's
// reader reads.
type link struct {
	lane  *lane
	addr  string
	pipe  *client.Pipe
	slots []slot // by request id
	free  uint32 // first free slot; noSlot: none
	open  int    // slots in use
	down  bool   // the connection is gone, another is being made
}

const noSlot = math.MaxUint32

// linkSlots bounds the unanswered requests of a link. More would not make a node
// faster, and the queue is better kept here, where it costs nothing.
const linkSlots = 8192

func dialLink(ctx context.Context, l *lane, addr string) (*link, error) {
	k := &link{lane: l, addr: addr, down: true}
	return k, k.dial(ctx)
}

// dial connects; the caller has made sure that nobody uses the link.
func (k *link) dial(ctx context.Context) error {
	pipe, err := client.DialPipe(ctx, k.addr, &k.lane.run.o.Client)
	if err != nil {
		return err
	}
	k.lane.mu.Lock()
	defer k.lane.mu.Unlock()
	k.pipe = pipe
	k.slots = make([]slot, min(linkSlots, pipe.MaxInFlight()))
	for i := range k.slots {
		k.slots[i].link = uint32(i) + 1
	}
	k.slots[len(k.slots)-1].link = noSlot
	k.free, k.open, k.down = 0, 0, false
	k.lane.run.work.Go(func() { k.read(pipe) })
	return nil
}

// put adds a request to what the next flush sends. The caller has seen that there
// is a free slot.
func (k *link) put(s slot, flags wire.Flags, body func([]byte) []byte) {
	i := k.free
	k.free = k.slots[i].link
	k.slots[i] = s
	k.open++
	k.pipe.End(wire.Header{Kind: s.op.kind(), Flags: flags, Request: uint64(i)}, body(k.pipe.Begin()))
}

// take gives the slot back whose answer has come.
func (k *link) take(request uint64) (slot, error) {
	if request >= uint64(len(k.slots)) {
		return slot{}, fmt.Errorf("answer to request %d that was never made", request)
	}
	i := uint32(request)
	s := k.slots[i]
	k.slots[i].link = k.free
	k.free = i
	k.open--
	return s, nil
}

// read handles answers until the pipe ends. What one read has brought in is
// handled under one lock.
func (k *link) read(pipe *client.Pipe) {
	l := k.lane
	for {
		h, body, err := pipe.Next()
		if err != nil {
			k.lost(err)
			return
		}
		now := l.run.now()
		l.mu.Lock()
		for {
			s, err := k.take(h.Request)
			if err == nil {
				err = l.answer(s, h, body, now)
			}
			if err != nil {
				l.run.fail(err)
			}
			if pipe.Buffered() == 0 {
				break
			}
			if h, body, err = pipe.Next(); err != nil {
				break // the next Next says so again
			}
		}
		l.mu.Unlock()
		l.poke()
	}
}

// redialEvery is the pause between two attempts to reach a node that has gone.
const redialEvery = 100 * time.Millisecond

// lost lets what is unanswered be asked again, of this node or another, and
// connects anew.
func (k *link) lost(err error) {
	l := k.lane
	l.mu.Lock()
	if l.run.over() {
		l.mu.Unlock()
		return
	}
	k.down = true
	free := make([]bool, len(k.slots))
	for i := k.free; i != noSlot; i = k.slots[i].link {
		free[i] = true
	}
	for i := range k.slots {
		if !free[i] {
			s := k.slots[i]
			l.mayBeApplied(&s)
			l.meter.failed(s.op, wire.StatusUnknown)
			l.again = append(l.again, s)
		}
	}
	l.mu.Unlock()
	l.run.log("connection to %s: %v", k.addr, err)
	_ = k.pipe.Close() // it is broken
	l.run.work.Go(func() {
		for !l.run.over() {
			if k.dial(l.run.ctx) == nil {
				return
			}
			select {
			case <-l.run.ctx.Done():
			case <-time.After(redialEvery):
			}
		}
	})
}
