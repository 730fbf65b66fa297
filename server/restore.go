package server

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/usher-seats/usher/shard"
	"github.com/usher-seats/usher/wire"
)

// An event comes back from a backup like one that moves:
//
//	directory  Assign: its key has a new event id, a shard, a number
//	shard      Import of the image, in chunks
//	           Adopt: the event is the shard's, with the hash that it had, its holds
//	           with the time they had left, and a higher epoch
//
// Each step can be repeated. Whoever begins again gets the same id and number, a
// higher attempt, and the same event: the shard adopts only one event of a number.
// Between the first step and the last the event has a place and no content, like one
// whose creation was given up; it can be restored again or deleted.

// restorePatience bounds the restoring of one event.
const restorePatience = 5 * time.Minute

// A refusal to restore is about one event: the others can be restored.
type restoreRefused struct{ text string }

func (r *restoreRefused) Error() string { return r.text }

// A restoreFailed is a step that was not done.
type restoreFailed struct {
	status wire.Status
	text   string
}

func (r *restoreFailed) Error() string { return fmt.Sprintf("%v %s", r.status, r.text) }

// restore brings back an event. fresh is false if it was restored from the same
// backup before: then it goes on as it is.
func (n *Node) restore(ctx context.Context, key string, image []byte, info *shard.ImageInfo) (fresh bool, err error) {
	ctx, cancel := context.WithTimeout(ctx, restorePatience)
	defer cancel()
	assign := wire.Assign{Mutation: n.begin(0), Key: []byte(key), Digest: info.Digest}
	s, body := n.do(ctx, wire.Record{Kind: wire.KindAssign, Body: assign.Append(nil)})
	switch s {
	case wire.StatusOK:
	case wire.StatusExists:
		return false, &restoreRefused{fmt.Sprintf("event %q exists with another manifest: delete it first", key)}
	default:
		return false, &restoreFailed{s, string(body)}
	}
	var loc wire.Location
	if err := loc.Decode(body); err != nil {
		return false, fmt.Errorf("the directory's answer: %w", err)
	}
	// A copy is adopted in the place of what the shard has, so it must have nothing.
	// Only whoever creates the event in this very moment, with the same manifest,
	// can come in between; his is the one that goes.
	switch there, err := n.image(ctx, key, loc.Event); {
	case errors.Is(err, errNoContent):
		return true, n.adoptImage(ctx, loc.Event, image, info)
	case err != nil:
		return false, err
	default:
		return false, sameOrigin(key, there, info)
	}
}

// sameOrigin refuses unless the event that is there was restored from an image.
func sameOrigin(key string, there packedImage, info *shard.ImageInfo) error {
	e := BackupEvent{Size: there.size, packed: there.packed}
	_, have, err := e.unpack()
	switch {
	case err != nil:
		return fmt.Errorf("the event %q that is there: %w", key, err)
	case have.Origin == info.Hash, have.Hash == info.Hash:
		return nil
	case have.Origin != 0:
		return &restoreRefused{fmt.Sprintf("event %q exists, restored from another backup or moved since it was restored: delete it first", key)}
	}
	return &restoreRefused{fmt.Sprintf("event %q exists: delete it first", key)}
}

// adoptImage makes an event that has a place and nothing else of an image.
func (n *Node) adoptImage(ctx context.Context, id wire.EventID, image []byte, info *shard.ImageInfo) error {
	e := n.table().Event(id)
	for ; e == nil; e = n.table().Event(id) {
		if !sleep(ctx, keepEvery) {
			return &restoreFailed{wire.StatusUnavailable, "this node does not hear from the directory"}
		}
	}
	m := wire.Mutation{Event: id}
	// A later attempt is higher if clocks are right. If not, it is refused until the
	// shard has forgotten the one before, which takes a retry window.
	attempt := uint64(time.Now().UnixNano())
	if err := n.sendImage(ctx, e.Shard, image, wire.Import{Mutation: m, Number: e.Number, Attempt: attempt}); err != nil {
		return err
	}
	adopt := wire.Adopt{
		Mutation: m, Number: e.Number, Attempt: attempt,
		Hash: info.Hash, Now: info.Now, Epoch: epochOf(info.Epoch, e.Number),
	}
	if a := n.insist(ctx, e.Shard, wire.Record{Kind: wire.KindAdopt, Body: adopt.Append(nil)}); a.status != wire.StatusOK {
		return &restoreFailed{a.status, string(a.body)}
	}
	return nil
}
