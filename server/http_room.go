package server

import (
	"encoding/json"
	"fmt"
	"math"
	"net/http"
	"time"

	"github.com/valyala/fasthttp"

	"github.com/usher-seats/usher/wire"
)

// roomBody makes or changes a room. What is missing stays as it is.
type roomBody struct {
	ID            string          `json:"id"`
	Limit         *uint32         `json:"limit"`
	Rate          *float64        `json:"rate_per_s"`
	Grace         *uint32         `json:"grace_ms"`
	PassTTL       *uint32         `json:"pass_ttl_ms"`
	SeatsPerPass  *uint8          `json:"seats_per_pass"`
	OnePerVisitor *bool           `json:"one_per_visitor"`
	OpensAt       json.RawMessage `json:"opens_at"`
	EntriesUntil  json.RawMessage `json:"entries_until"`
	Source        *string         `json:"entropy_source"`
}

// apply changes a configuration as the body says.
func (b *roomBody) apply(c *wire.RoomConfig) *problem {
	setIf(&c.Limit, b.Limit)
	setIf(&c.Grace, b.Grace)
	setIf(&c.PassTTL, b.PassTTL)
	setIf(&c.SeatsPerPass, b.SeatsPerPass)
	setIf(&c.OnePerVisitor, b.OnePerVisitor)
	if b.Source != nil {
		c.Source = []byte(*b.Source)
	}
	if b.Rate != nil {
		rate := math.Round(*b.Rate * 1000)
		if !(rate >= 1 && rate <= wire.MaxRoomRate) {
			return badRequest("rate_per_s", fmt.Sprintf("The field \"rate_per_s\" must be a number from 0.001 to %d.", wire.MaxRoomRate/1000))
		}
		c.Rate = uint32(rate)
	}
	if p := wallOf("opens_at", b.OpensAt, &c.OpensAt); p != nil {
		return p
	}
	if p := wallOf("entries_until", b.EntriesUntil, &c.EntriesUntil); p != nil {
		return p
	}
	if err := c.Validate(); err != nil {
		return badRequest("", sentence(err.Error()))
	}
	return nil
}

func setIf[T any](to *T, from *T) {
	if from != nil {
		*to = *from
	}
}

// wallOf reads a time, or null for none. No data is no change.
func wallOf(field string, data json.RawMessage, to *int64) *problem {
	if len(data) == 0 {
		return nil
	}
	var text *string
	if json.Unmarshal(data, &text) == nil && text == nil {
		*to = 0
		return nil
	}
	if text != nil {
		if t, err := time.Parse(time.RFC3339, *text); err == nil {
			*to = t.UnixMilli()
			return nil
		}
	}
	return badRequest(field, fmt.Sprintf("The field %q must be a time such as \"2026-06-01T09:00:00Z\", or null for none.", field))
}

// setRoom serves PUT …/queue. A room's configuration is replaced as a whole in the
// log, so two changes at once are made to wait for each other here, as with rules.
func (q *request) setRoom() *problem {
	var b roomBody
	if p := q.body(&b); p != nil {
		return p
	}
	if p := q.locate(); p != nil {
		return p
	}
	op, p := q.operationID("room", b.ID)
	if p != nil {
		return p
	}
	q.f.patching.Lock()
	defer q.f.patching.Unlock()
	frame, status, body := q.n.frames.fresh(q.budget, q.event, q.key)
	if status != wire.StatusOK {
		return unread(status, body, nil)
	}
	set := wire.SetRoom{Mutation: q.mutation(op.id), Config: wire.DefaultRoom()}
	if frame.info.State != wire.QueueOff {
		set.Config = frame.info.Config
	}
	if p := b.apply(&set.Config); p != nil {
		return p
	}
	r := wire.Record{Kind: wire.KindSetRoom, Flags: op.flags, Body: set.Append(nil)}
	seedRoom(r.Body)
	if status, body = q.do(r); status != wire.StatusOK {
		return refusal(status, body, nil).with("id", op.id.String())
	}
	return q.replyRoom()
}

// replyRoom answers an operator with the room as it is now.
func (q *request) replyRoom() *problem {
	frame, status, body := q.n.frames.fresh(q.budget, q.event, q.key)
	if status != wire.StatusOK {
		return unread(status, body, nil)
	}
	q.ctx.Response.Header.Set(fasthttp.HeaderCacheControl, "no-store")
	q.ctx.SetContentType(jsonMedia)
	q.ctx.Response.SetBodyRaw(frame.body) // shared: nobody writes to it
	return nil
}

// actionBody is what pausing a room and the like say: nothing but an id.
type actionBody struct {
	ID string `json:"id"`
}

func (q *request) pauseRoom() *problem  { return q.act(wire.RoomPause) }
func (q *request) resumeRoom() *problem { return q.act(wire.RoomResume) }
func (q *request) drainRoom() *problem  { return q.act(wire.RoomDrain) }
func (q *request) openRoom() *problem   { return q.act(wire.RoomOpen) }

func (q *request) act(action wire.RoomAction) *problem {
	var b actionBody
	if len(q.ctx.PostBody()) > 0 {
		if p := q.body(&b); p != nil {
			return p
		}
	}
	if p := q.direct(action, b.ID, nil); p != nil {
		return p
	}
	return q.replyRoom()
}

// endRoom serves DELETE …/queue.
func (q *request) endRoom() *problem {
	if p := q.direct(wire.RoomOff, "", nil); p != nil {
		return p
	}
	q.ctx.SetStatusCode(http.StatusNoContent)
	return nil
}

// drawBody brings a draw's outside entropy.
type drawBody struct {
	ID      string `json:"id"`
	Entropy string `json:"entropy"`
}

// drawRoom serves POST …/queue/draw.
func (q *request) drawRoom() *problem {
	var b drawBody
	if p := q.body(&b); p != nil {
		return p
	}
	if b.Entropy == "" || len(b.Entropy) > wire.MaxEntropy {
		return badRequest("entropy", fmt.Sprintf("The field \"entropy\" must be 1 to %d bytes, exactly as the source published them.", wire.MaxEntropy))
	}
	if p := q.direct(wire.RoomDraw, b.ID, []byte(b.Entropy)); p != nil {
		return p
	}
	return q.replyRoom()
}

// direct does one thing with the room of the path's event.
func (q *request) direct(action wire.RoomAction, given string, entropy []byte) *problem {
	if p := q.locate(); p != nil {
		return p
	}
	op, p := q.operationID(action.String(), given)
	if p != nil {
		return p
	}
	d := wire.DirectRoom{Mutation: q.mutation(op.id), Action: action, Entropy: entropy}
	status, body := q.do(wire.Record{Kind: wire.KindDirectRoom, Flags: op.flags, Body: d.Append(nil)})
	if status != wire.StatusOK {
		return refusal(status, body, nil)
	}
	return nil
}
