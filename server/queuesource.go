package server

import (
	"bytes"
	"context"
	"errors"

	"github.com/usher-seats/usher/server/live"
	"github.com/usher-seats/usher/wire"
)

// errNoRoom says that nobody can be asked for the room now.
var errNoRoom = errors.New("the event's waiting room cannot be read")

// A queueSource tells a topic of one waiting room. What it says is the frame of
// GET …/queue, whole each time: it is small, and whoever missed some needs only the
// last. It belongs to the topic's goroutine.
type queueSource struct {
	n     *Node
	event wire.EventID
	key   string

	body  []byte      // of the last frame
	frame *live.Frame // the same, prepared
}

func (n *Node) queueSource(event wire.EventID, key string) live.Source {
	return &queueSource{n: n, event: event, key: key}
}

// Full is the frame.
func (s *queueSource) Full(ctx context.Context) (live.Update, error) { return s.Since(ctx, 0) }

// Since is the frame, unless it is the one at the position.
func (s *queueSource) Since(ctx context.Context, position uint64) (live.Update, error) {
	f, status, _ := s.n.frames.get(ctx, s.event, s.key)
	switch {
	case status == wire.StatusUnknownEvent:
		return deleted(), nil
	case status != wire.StatusOK:
		return live.Update{}, errNoRoom
	case f.position == position:
		return live.Update{Position: position}, nil
	}
	if !bytes.Equal(s.body, f.body) {
		s.body = f.body
		s.frame = live.NewFrame(live.Part{Event: "queue", Data: bytes.TrimSpace(f.body)})
	}
	return live.Update{Position: f.position, Frame: s.frame, Resync: true}, nil
}
