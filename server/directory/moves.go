package directory

import "github.com/usher-seats/usher/wire"

// The directory says only where an event is and where it goes: its nodes do the
// moving. An event has one number, which every move raises. A move ends once:
// the event is in the other shard (To is 0, Shard is what To was), or it stays
// (To is 0, Stayed is set). Whoever comes later with the number of a move that
// ended otherwise is refused.

// move begins a move and answers its number. A move to where the event is, or is
// on its way, changes nothing and is answered the number that the event has.
func (d *Directory) move(body []byte) (wire.Status, []byte) {
	var op wire.Move
	if err := op.Decode(body); err != nil {
		return bad("%v", err)
	}
	e := d.draft.Event(op.Event)
	if e == nil {
		return wire.StatusUnknownEvent, nil
	}
	there := e.To
	if there == 0 {
		there = e.Shard
	}
	switch {
	case d.draft.Shard(op.To) == nil:
		return bad("there is no shard %d: the cluster has %d", op.To, d.draft.Shards())
	case op.To == there:
		return wire.StatusOK, d.numberOf(e)
	case e.To != 0:
		return refused("event %q is moving to shard %d already: cancel that first", e.Key, e.To)
	}
	fresh := *e
	fresh.To, fresh.Number, fresh.Stayed = op.To, d.number(), false
	d.replace(e, &fresh)
	d.note("move event %s from shard %d to %d", plain(e.Key), e.Shard, op.To)
	return wire.StatusOK, d.numberOf(&fresh)
}

func (d *Directory) numberOf(e *Event) []byte {
	d.scratch = (&wire.Number{Number: e.Number}).Append(d.scratch[:0])
	return d.scratch
}

// moved says that the event is in the shard that it was moving to.
func (d *Directory) moved(body []byte) (wire.Status, []byte) {
	e, status, text := d.step(body, false)
	if e == nil {
		return status, text
	}
	fresh := *e
	fresh.Shard, fresh.To = e.To, 0
	d.replace(e, &fresh)
	d.note("event %s is in shard %d now, no longer in %d", plain(e.Key), fresh.Shard, e.Shard)
	return wire.StatusOK, nil
}

// unmove says that the event stays where it is.
func (d *Directory) unmove(body []byte) (wire.Status, []byte) {
	e, status, text := d.step(body, true)
	if e == nil {
		return status, text
	}
	fresh := *e
	fresh.To, fresh.Stayed = 0, true
	d.replace(e, &fresh)
	d.note("event %s stays in shard %d and does not move to %d", plain(e.Key), e.Shard, e.To)
	return wire.StatusOK, nil
}

// step finds the event whose move is to end, or the answer to a step of a move
// that is over. stay tells the two ends of a move apart: the one that it had is
// answered StatusOK again.
func (d *Directory) step(body []byte, stay bool) (e *Event, status wire.Status, text []byte) {
	var op wire.Numbered
	if err := op.Decode(body); err != nil {
		status, text = bad("%v", err)
		return nil, status, text
	}
	e = d.draft.Event(op.Event)
	switch {
	case e == nil:
		return nil, wire.StatusUnknownEvent, nil
	case op.Number > e.Number:
		status, text = bad("event %q has no move %d: its last number is %d", e.Key, op.Number, e.Number)
	case op.Number < e.Number || e.To == 0 && e.Stayed != stay:
		status, text = refused("move %d of event %q is over", op.Number, e.Key)
	case e.To == 0:
		return nil, wire.StatusOK, nil
	default:
		return e, wire.StatusOK, nil
	}
	return nil, status, text
}

// replace puts fresh in the place of e, which has the same id and key.
func (d *Directory) replace(e, fresh *Event) {
	d.remove(e)
	d.insert(fresh)
}
