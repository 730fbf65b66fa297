package raftlog

import (
	"errors"
	"fmt"

	"github.com/cockroachdb/pebble/v2"
)

// DropGroup removes all that the node has of a group, whose replica here has been
// closed. The group may come back later, as another replica. A crash in between is
// finished at the next start: what is removed first is the vote, for a record that
// says so, because stores of which a part is missing are not started on.
func (n *Node) DropGroup(group uint64) error {
	n.mu.Lock()
	switch {
	case n.closing:
		n.mu.Unlock()
		return errClosing
	case n.running[group] != nil || n.dropped[group]:
		n.mu.Unlock()
		return fmt.Errorf("raftlog: group %d cannot be dropped: it runs, or is being dropped", group)
	}
	n.dropped[group] = true
	if g := n.stores[group]; g != nil {
		g.logs.retire()
		delete(n.stores, group)
	}
	n.mu.Unlock()
	defer func() {
		n.mu.Lock()
		delete(n.dropped, group)
		n.mu.Unlock()
	}()
	if err := n.failure(); err != nil {
		return err
	}
	if err := n.bolt.Set(voteKey(group), vote{dropped: true}.encode()); err != nil {
		return err
	}
	return n.eraseGroup(group)
}

// eraseGroup removes the data of a group whose record says that it is dropped, and
// then the record.
func (n *Node) eraseGroup(group uint64) error {
	lo, hi := groupKey(group), groupKey(group+1)
	for _, s := range []struct {
		name string
		db   *pebble.DB
	}{{"log", n.log}, {"snap", n.snap}} {
		if err := n.write(s.name, func() error { return s.db.DeleteRange(lo, hi, pebble.Sync) }); err != nil {
			return err
		}
	}
	// An empty value is as good as none: bolt has no removal that raft-boltdb shows.
	return errors.Join(n.bolt.Set(voteKey(group), nil), n.failure())
}

// ReplicaOf is the number of the replica whose data the node has of a group; false
// if it has none.
func (n *Node) ReplicaOf(group uint64) (replica uint64, ok bool, err error) {
	v, err := readVote(n.bolt, group)
	if err != nil || v == nil || v.dropped {
		return 0, false, err
	}
	return v.replica, true, nil
}
