package server

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"time"

	"github.com/klauspost/compress/s2"

	"github.com/usher-seats/usher/raftlog"
	"github.com/usher-seats/usher/wire"
)

const (
	// maxPiece bounds the bytes of an image in one answer to another node.
	maxPiece = 1 << 20
	// maxKeptImages bounds the images that a node keeps for others to fetch.
	maxKeptImages = 4
	// keptFor is how long a node keeps an image that nobody goes on fetching.
	keptFor = 30 * time.Second
	// imagePatience bounds the fetching of one image, with all attempts.
	imagePatience = 2 * time.Minute
)

// A packedImage is the image of an event as a backup has it. Immutable.
type packedImage struct {
	packed []byte // one s2 block
	size   int    // of the image, in bytes
}

// errNoContent says that there is nothing to back up under an id: the event was
// deleted, or has a place in the directory only because its creation was given up.
var errNoContent = errors.New("the event has no content")

// image is the image of an event, later than the call. Wherever the event is led and
// goes meanwhile, it is tried until it is had. errNoContent says that there is
// nothing to be had.
func (n *Node) image(ctx context.Context, key string, id wire.EventID) (packedImage, error) {
	ctx, cancel := context.WithTimeout(ctx, imagePatience)
	defer cancel()
	for pause := retryLeast; ; pause = min(2*pause, retryMost) {
		p, a := n.tryImage(ctx, id)
		if a.status == wire.StatusUnknownEvent {
			a = n.confirmEmpty(ctx, key, id)
		}
		switch a.status {
		case wire.StatusOK:
			return p, nil
		case wire.StatusUnknownEvent:
			return p, errNoContent
		case wire.StatusTooLarge:
			return p, fmt.Errorf("event %q: %s", key, a.body)
		}
		if n.stopping.Load() || !sleep(ctx, pause) {
			return p, fmt.Errorf("event %q cannot be had: %v %s", key, a.status, a.body)
		}
	}
}

// tryImage asks the node that leads the event's shard, as far as this node knows.
func (n *Node) tryImage(ctx context.Context, id wire.EventID) (p packedImage, a outcome) {
	e := n.table().Event(id)
	if e == nil {
		return p, refused(wire.StatusUnknownEvent, "")
	}
	if g := n.local(e.Shard); g != nil && g.log.Leading() {
		return n.takeImage(ctx, g, id)
	}
	leader := n.leaderOf(e.Shard)
	if leader == "" || leader == n.cfg.Node {
		return p, refused(wire.StatusUnavailable, "its shard has no leader")
	}
	call := func(ctx context.Context, body []byte) ([]byte, error) { return n.peers.Call(ctx, leader, body) }
	return fetchImage(ctx, call, e.Shard, id)
}

// confirmEmpty looks, in the directory's log, whether an event that is not in the
// shard where this node looked for it is not elsewhere either. StatusUnknownEvent:
// it is not.
func (n *Node) confirmEmpty(ctx context.Context, key string, id wire.EventID) outcome {
	before := n.table().Event(id)
	loc, status, text := n.find(ctx, key)
	switch {
	case status == wire.StatusUnknownEvent, status == wire.StatusOK && loc.Event != id:
		return refused(wire.StatusUnknownEvent, "")
	case status != wire.StatusOK:
		return refused(status, text)
	case before == nil || before.Shard != loc.Shard || before.To != 0:
		return refused(wire.StatusMoved, "it is moving")
	}
	return refused(wire.StatusUnknownEvent, "")
}

// find is locate, as of now and not as of when this node heard last.
func (n *Node) find(ctx context.Context, key string) (loc wire.Location, s wire.Status, text string) {
	s, body := n.do(ctx, wire.Record{Kind: wire.KindLocate, Flags: wire.FlagConsistent, Body: (&wire.Key{Key: []byte(key)}).Append(nil)})
	if s != wire.StatusOK {
		return loc, s, string(body)
	}
	if err := loc.Decode(body); err != nil {
		return loc, wire.StatusUnavailable, "the directory's answer cannot be read: " + err.Error()
	}
	return loc, s, ""
}

// takeImage images an event of a shard that is led here. An entry goes before it:
// whoever does not lead any more, and does not know yet, has no image to give.
func (n *Node) takeImage(ctx context.Context, g *group, id wire.EventID) (p packedImage, a outcome) {
	r := wire.Record{Kind: wire.KindEvent, Body: (&wire.EventRef{Event: id}).Append(nil)}
	status, body := n.submit(ctx, g, raftlog.Read, r)
	if status != wire.StatusOK {
		return p, outcome{status: status, body: body}
	}
	var image []byte
	ok := false
	g.log.Between(func(uint64, wire.Millis) {
		s := g.shard.Load()
		// One that is frozen may go on elsewhere already.
		if e := s.Event(id); e != nil && !e.Frozen() {
			image, ok = s.AppendImage(nil, id)
		}
	})
	switch {
	case !ok:
		return p, refused(wire.StatusMoved, "it is moving")
	case len(image) > wire.MaxImage:
		return p, refused(wire.StatusTooLarge, fmt.Sprintf("its image has %d bytes, and can be restored up to %d", len(image), wire.MaxImage))
	}
	return packedImage{packed: s2.Encode(nil, image), size: len(image)}, outcome{status: wire.StatusOK}
}

// An imageCall asks for a piece of an event's packed image: the first one, for which
// the other node takes an image, or a later one of the same:
//
//	u8 callImage, u32 shard, u64 event, u64 copy, u32 offset, u32 budget in milliseconds
//
// and is answered with a piece, or a status that is not OK and a text:
//
//	u16 status, u64 copy, u32 size, u32 packed size, then the piece
type imageCall struct {
	shard  uint32
	event  wire.EventID
	copied uint64 // names the copy; 0: none has been taken yet
	offset uint32
	budget time.Duration
}

const imageCallSize = 1 + 4 + 8 + 8 + 4 + 4

func (c *imageCall) append(b []byte) []byte {
	b = binary.LittleEndian.AppendUint32(append(b, callImage), c.shard)
	b = binary.LittleEndian.AppendUint64(b, uint64(c.event))
	b = binary.LittleEndian.AppendUint64(b, c.copied)
	b = binary.LittleEndian.AppendUint32(b, c.offset)
	return binary.LittleEndian.AppendUint32(b, uint32(c.budget.Milliseconds()))
}

func (c *imageCall) decode(b []byte) error {
	if len(b) != imageCallSize {
		return errCall
	}
	c.shard = binary.LittleEndian.Uint32(b[1:])
	c.event = wire.EventID(binary.LittleEndian.Uint64(b[5:]))
	c.copied = binary.LittleEndian.Uint64(b[13:])
	c.offset = binary.LittleEndian.Uint32(b[21:])
	c.budget = time.Duration(binary.LittleEndian.Uint32(b[25:])) * time.Millisecond
	return nil
}

type imageAnswer struct {
	status wire.Status
	copied uint64
	size   uint32
	total  uint32 // of the packed image
	piece  []byte // or a text
}

const imageAnswerSize = 2 + 8 + 4 + 4

func (a *imageAnswer) append(b []byte) []byte {
	b = binary.LittleEndian.AppendUint16(b, uint16(a.status))
	b = binary.LittleEndian.AppendUint64(b, a.copied)
	b = binary.LittleEndian.AppendUint32(b, a.size)
	b = binary.LittleEndian.AppendUint32(b, a.total)
	return append(b, a.piece...)
}

func (a *imageAnswer) decode(b []byte) error {
	if len(b) < imageAnswerSize || len(b) > imageAnswerSize+maxPiece {
		return errCall
	}
	a.status = wire.Status(binary.LittleEndian.Uint16(b))
	a.copied = binary.LittleEndian.Uint64(b[2:])
	a.size = binary.LittleEndian.Uint32(b[10:])
	a.total = binary.LittleEndian.Uint32(b[14:])
	a.piece = b[imageAnswerSize:]
	if a.size > wire.MaxImage || int64(a.total) > int64(s2.MaxEncodedLen(wire.MaxImage)) {
		return errCall
	}
	return nil
}

// fetchImage gets an image from another node, piece by piece.
func fetchImage(ctx context.Context, call func(context.Context, []byte) ([]byte, error), shard uint32, id wire.EventID) (p packedImage, o outcome) {
	c := imageCall{shard: shard, event: id}
	for {
		c.budget = imagePatience
		if end, ok := ctx.Deadline(); ok {
			c.budget = max(time.Millisecond, time.Until(end))
		}
		reply, err := call(ctx, c.append(nil))
		if err != nil {
			return p, refused(wire.StatusUnavailable, err.Error())
		}
		var a imageAnswer
		if err := a.decode(reply); err != nil {
			return p, refused(wire.StatusUnavailable, err.Error())
		}
		if a.status != wire.StatusOK {
			return p, refused(a.status, string(a.piece))
		}
		p.packed = append(p.packed, a.piece...)
		p.size = int(a.size)
		switch {
		case len(a.piece) == 0 || len(p.packed) > int(a.total):
			return p, refused(wire.StatusUnavailable, errCall.Error())
		case len(p.packed) == int(a.total):
			return p, outcome{status: wire.StatusOK}
		}
		c.copied, c.offset = a.copied, uint32(len(p.packed))
	}
}

// serveImage is fetchImage at the other end.
func (n *Node) serveImage(ctx context.Context, c *imageCall) *imageAnswer {
	ctx, cancel := context.WithTimeout(ctx, c.budget)
	defer cancel()
	if c.copied != 0 {
		return n.backups.images.piece(c)
	}
	g := n.local(c.shard)
	switch {
	case n.stopping.Load():
		return &imageAnswer{status: wire.StatusStopping}
	case g == nil || c.shard == 0 || !g.log.Leading():
		return &imageAnswer{status: wire.StatusMoved}
	case !n.backups.images.enter():
		return &imageAnswer{status: wire.StatusOverloaded, piece: fmt.Appendf(nil, "node %s is being asked for %d images", n.cfg.Node, maxKeptImages)}
	}
	p, a := n.takeImage(ctx, g, c.event)
	if a.status != wire.StatusOK {
		n.backups.images.leave()
		return &imageAnswer{status: a.status, piece: a.body}
	}
	return n.backups.images.keep(c.event, p)
}

// keptImages are images that other nodes are fetching. Their number is bounded, and
// they go when they have been fetched or nobody goes on with it.
type keptImages struct {
	mu   sync.Mutex
	busy int // images that are kept or being taken
	of   map[uint64]*keptImage
}

// A keptImage belongs to its keptImages; the image is immutable.
type keptImage struct {
	packedImage
	event wire.EventID
	rest  *time.Timer
}

// enter makes room for an image, if there is any.
func (k *keptImages) enter() bool {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.busy == maxKeptImages {
		return false
	}
	k.busy++
	return true
}

// leave gives up the room for an image that was not kept.
func (k *keptImages) leave() {
	k.mu.Lock()
	k.busy--
	k.mu.Unlock()
}

// keep answers with the first piece of an image, for which there is room, and keeps
// it if there are more.
func (k *keptImages) keep(event wire.EventID, p packedImage) *imageAnswer {
	a := &imageAnswer{size: uint32(p.size), total: uint32(len(p.packed)), piece: p.packed[:min(maxPiece, len(p.packed))]}
	if len(a.piece) == len(p.packed) {
		k.leave()
		return a
	}
	// A number at random: one that a node gave before it was restarted finds nothing.
	a.copied = max(1, rand.Uint64())
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.of == nil {
		k.of = make(map[uint64]*keptImage)
	}
	k.of[a.copied] = &keptImage{packedImage: p, event: event, rest: time.AfterFunc(keptFor, func() { k.drop(a.copied) })}
	return a
}

// piece answers with a later piece, and drops the image after the last.
func (k *keptImages) piece(c *imageCall) *imageAnswer {
	k.mu.Lock()
	defer k.mu.Unlock()
	image := k.of[c.copied]
	if image == nil || image.event != c.event || int64(c.offset) > int64(len(image.packed)) {
		return &imageAnswer{status: wire.StatusUnavailable, piece: []byte("that copy of the image is not kept any more")}
	}
	end := min(int(c.offset)+maxPiece, len(image.packed))
	if end == len(image.packed) {
		image.rest.Stop()
		k.dropLocked(c.copied)
	} else {
		image.rest.Reset(keptFor)
	}
	return &imageAnswer{copied: c.copied, size: uint32(image.size), total: uint32(len(image.packed)), piece: image.packed[c.offset:end]}
}

func (k *keptImages) drop(copied uint64) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.dropLocked(copied)
}

func (k *keptImages) dropLocked(copied uint64) {
	if k.of[copied] != nil {
		delete(k.of, copied)
		k.busy--
	}
}
