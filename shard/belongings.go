package shard

import "github.com/usher-seats/usher/wire"

// contained reports whether what was loaded of an id has seen the entry that is
// being applied.
func (s *Shard) contained(id wire.EventID) bool {
	return len(s.loaded) > 0 && s.loaded[id] >= s.index
}

// A leftover is what EncodePart still gives to a snapshot that began when there
// was something under an id which is not there any more: the manifest, without
// which an earlier state could not be loaded, and the news that there is nothing,
// without which a replica would do some entries twice. It goes when the next
// snapshot begins. Owned by the applier.
type leftover struct {
	manifest []byte // nil: there was no event
	created  uint64 // as of the event
}

// vanished notes that something of what was under an id is gone.
func (s *Shard) vanished(id wire.EventID) {
	s.under(id).mark(s.index)
	if _, ok := s.leftovers[id]; !ok {
		s.leftovers[id] = leftover{}
	}
}

// belongings are all that a shard has under an id: at most one of the first four,
// and perhaps a stage.
type belongings struct {
	event     *Event
	creation  *creation
	deletion  *deletion
	departure *departure
	stage     *stage
}

func (s *Shard) under(id wire.EventID) belongings {
	return belongings{s.find(id), s.creations[id], s.deletions[id], s.departures[id], s.stages[id]}
}

// form is the form of the state that is to be encoded.
func (b belongings) form() byte {
	switch {
	case b.event != nil:
		return formEvent
	case b.creation != nil:
		return formCreation
	case b.deletion != nil:
		return formDeletion
	case b.departure != nil:
		return formDeparture
	}
	return formNothing
}

// changed is the entry that last changed any of it.
func (b belongings) changed() (entry uint64) {
	for _, changed := range b.marks() {
		if changed != nil {
			entry = max(entry, *changed)
		}
	}
	return entry
}

// mark says that an entry has changed it.
func (b belongings) mark(entry uint64) {
	for _, changed := range b.marks() {
		if changed != nil {
			*changed = entry
			return
		}
	}
}

func (b belongings) marks() (list [5]*uint64) {
	if b.event != nil {
		list[0] = &b.event.changed
	}
	if b.creation != nil {
		list[1] = &b.creation.changed
	}
	if b.deletion != nil {
		list[2] = &b.deletion.changed
	}
	if b.departure != nil {
		list[3] = &b.departure.changed
	}
	if b.stage != nil {
		list[4] = &b.stage.changed
	}
	return list
}
