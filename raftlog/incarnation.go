package raftlog

import (
	"bytes"
	"crypto/rand"
	"encoding/binary"
	"errors"
	"fmt"
	"sync"

	"github.com/cespare/xxhash/v2"
	"github.com/cockroachdb/pebble/v2"
	raftboltdb "github.com/hashicorp/raft-boltdb/v2"
)

// The three stores of a node are only right together: entries missing from the
// log behind a snapshot, a vote forgotten, a snapshot older than the log's first
// entry are each enough to lose what was acknowledged. So each carries a card
// with the incarnation of the node and the number of the start it was last used
// by, and each group's records quote how far the other stores had come.
//
// A start is entered in this order, each step synced before the next: bolt says
// "entering start n", log and snap say n, bolt says "start n". Whatever a crash
// leaves behind of that is recognized; a store copied back from an earlier start
// is too, as its number is lower.

// nodeKey is where each store keeps its card. Keys of groups begin with zeroes.
var nodeKey = []byte("node")

const (
	cardFormat = 1
	maxNodeID  = 255
)

// A card says which node and which of its starts a store belongs to.
type card struct {
	incarnation [16]byte
	start       uint64
	entering    bool // in bolt: log and snap may be one start behind
	nodeID      string
}

func (c card) encode() []byte {
	b := append([]byte{cardFormat}, c.incarnation[:]...)
	b = binary.LittleEndian.AppendUint64(b, c.start)
	if c.entering {
		b = append(b, 1)
	} else {
		b = append(b, 0)
	}
	return seal(append(b, c.nodeID...))
}

func decodeCard(b []byte) (*card, error) {
	b, ok := unseal(b)
	if !ok || len(b) < 26 || b[0] != cardFormat {
		return nil, errDamaged
	}
	return &card{
		incarnation: [16]byte(b[1:17]),
		start:       binary.LittleEndian.Uint64(b[17:]),
		entering:    b[25] == 1,
		nodeID:      string(b[26:]),
	}, nil
}

// errDamaged is a record whose checksum is wrong.
var errDamaged = errors.New("the record is damaged")

// seal appends a checksum to a record.
func seal(b []byte) []byte { return binary.LittleEndian.AppendUint64(b, xxhash.Sum64(b)) }

// unseal checks and removes it.
func unseal(b []byte) ([]byte, bool) {
	if len(b) < 8 {
		return nil, false
	}
	body, sum := b[:len(b)-8], b[len(b)-8:]
	return body, binary.LittleEndian.Uint64(sum) == xxhash.Sum64(body)
}

// cards are those of all three stores; nil: the store has none.
type cards struct{ bolt, log, snap *card }

func (n *Node) readCards() (c cards, err error) {
	for _, s := range []struct {
		name string
		get  func() ([]byte, error)
		card **card
	}{
		{boltFile, func() ([]byte, error) { return boltGet(n.bolt, nodeKey) }, &c.bolt},
		{"log", func() ([]byte, error) { return pebbleGet(n.log, nodeKey) }, &c.log},
		{"snap", func() ([]byte, error) { return pebbleGet(n.snap, nodeKey) }, &c.snap},
	} {
		b, err := s.get()
		if err == nil && b != nil {
			*s.card, err = decodeCard(b)
		}
		if err != nil {
			return c, fmt.Errorf("reading %s: %w; %s", n.path(s.name), err, startOver(n.opts.Dir))
		}
	}
	return c, nil
}

// judge decides whether the stores belong together. It returns the card of the
// last start: nil for a directory in which there was none.
func (c cards) judge(n *Node) (*card, error) {
	if c.bolt == nil {
		if c.log != nil || c.snap != nil {
			return nil, n.misfit(boltFile, "is missing or empty, the rest of the node is there")
		}
		return nil, nil
	}
	if c.bolt.nodeID != n.opts.NodeID {
		return nil, fmt.Errorf("%s belongs to node %q, not to %q: give the node its name, or another directory",
			n.opts.Dir, c.bolt.nodeID, n.opts.NodeID)
	}
	for _, s := range []struct {
		name string
		card *card
	}{{"log", c.log}, {"snap", c.snap}} {
		switch {
		case s.card == nil && c.bolt.entering && c.bolt.start == 1:
			// The node's first start was cut short; it never had any groups.
		case s.card == nil:
			return nil, n.misfit(s.name, "is missing or empty, the rest of the node is there")
		case s.card.incarnation != c.bolt.incarnation:
			return nil, n.misfit(s.name, "is of another node than "+boltFile)
		case s.card.start > c.bolt.start:
			return nil, n.misfit(boltFile, fmt.Sprintf("is an older copy: it is of start %d, %s of start %d", c.bolt.start, s.name, s.card.start))
		case s.card.start < c.bolt.start && !(c.bolt.entering && s.card.start == c.bolt.start-1):
			return nil, n.misfit(s.name, fmt.Sprintf("is an older copy: it is of start %d, %s of start %d", s.card.start, boltFile, c.bolt.start))
		}
	}
	return c.bolt, nil
}

// misfit is the refusal to start on stores that do not belong together.
func (n *Node) misfit(store, what string) error {
	return fmt.Errorf("%s %s; the stores of a node cannot be replaced one by one: %s", n.path(store), what, startOver(n.opts.Dir))
}

// enter checks that the stores belong together, group by group too, and enters
// a new start into each.
func (n *Node) enter() error {
	all, err := n.readCards()
	if err != nil {
		return err
	}
	last, err := all.judge(n)
	if err != nil {
		return err
	}
	groups, err := n.groupsOnDisk()
	if err != nil {
		return err
	}
	next := card{start: 1, nodeID: n.opts.NodeID, entering: true}
	if last == nil {
		if len(groups) > 0 {
			return n.misfit(boltFile, "is missing, and there are groups in log or snap")
		}
		if _, err := rand.Read(next.incarnation[:]); err != nil {
			return err
		}
	} else {
		next.incarnation, next.start = last.incarnation, last.start+1
		if last.entering {
			next.start = last.start // finish the start that was cut short
		}
	}
	for _, g := range groups {
		if err := n.checkGroup(g); err != nil {
			return fmt.Errorf("group %d: %w", g, err)
		}
	}
	n.incarnation = next.incarnation
	return n.writeCards(next)
}

func (n *Node) writeCards(next card) error {
	if err := n.bolt.Set(nodeKey, next.encode()); err != nil {
		return err
	}
	next.entering = false
	var logErr, snapErr error
	var both sync.WaitGroup
	both.Go(func() { logErr = n.log.Set(nodeKey, next.encode(), pebble.Sync) })
	both.Go(func() { snapErr = n.snap.Set(nodeKey, next.encode(), pebble.Sync) })
	both.Wait()
	if err := errors.Join(logErr, snapErr, n.failure()); err != nil {
		return err
	}
	return n.bolt.Set(nodeKey, next.encode())
}

// groupsOnDisk lists the groups that have an entry or a snapshot.
func (n *Node) groupsOnDisk() ([]uint64, error) {
	seen := make(map[uint64]bool)
	var groups []uint64
	for _, db := range []*pebble.DB{n.log, n.snap} {
		it, err := db.NewIter(&pebble.IterOptions{UpperBound: groupKey(maxGroup)})
		if err != nil {
			return nil, err
		}
		for ok := it.First(); ok; {
			g := binary.BigEndian.Uint64(it.Key())
			if !seen[g] {
				seen[g] = true
				groups = append(groups, g)
			}
			ok = it.SeekGE(groupKey(g + 1))
		}
		if err := errors.Join(it.Error(), it.Close()); err != nil {
			return nil, err
		}
	}
	return groups, nil
}

// checkGroup compares how far a group's three stores have come.
func (n *Node) checkGroup(group uint64) error {
	first, term, end, err := logEnds(n.log, group)
	if err != nil {
		return err
	}
	vote, err := readVote(n.bolt, group)
	if err != nil {
		return err
	}
	if vote != nil && vote.dropped {
		return n.eraseGroup(group)
	}
	snap, err := readSnapshotHeader(n.snap, group)
	if err != nil {
		return fmt.Errorf("%s: %w; %s", n.path("snap"), err, startOver(n.opts.Dir))
	}
	if vote == nil {
		if end.index != 0 || snap != nil {
			return n.misfit(boltFile, "knows nothing of the group")
		}
		return nil
	}
	if vote.term < term {
		return n.misfit(boltFile, fmt.Sprintf("is an older copy: its term is %d, the log's %d", vote.term, term))
	}
	had, taken := vote.logEnd, uint64(0)
	if snap != nil {
		taken = snap.index
		if had.before(snap.logEnd) {
			had = snap.logEnd
		}
	}
	if end.before(had) {
		return n.misfit("log", fmt.Sprintf("is an older copy: it ends at entry %d, and had come to %d", end.index, had.index))
	}
	if taken < vote.snapIndex || first > taken+1 {
		return n.misfit("snap", fmt.Sprintf("is missing or an older copy: its snapshot is of entry %d, the log begins at %d", taken, first))
	}
	return nil
}

// pebbleGet copies a value out of a Pebble; nil: there is none.
func pebbleGet(db pebble.Reader, key []byte) ([]byte, error) {
	v, done, err := db.Get(key)
	if errors.Is(err, pebble.ErrNotFound) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	v = bytes.Clone(v)
	return v, done.Close()
}

// boltGet is the same for bolt.
func boltGet(bolt *raftboltdb.BoltStore, key []byte) ([]byte, error) {
	v, err := bolt.Get(key)
	if errors.Is(err, raftboltdb.ErrKeyNotFound) {
		return nil, nil
	}
	return v, err
}

// groupKey begins all keys of a group in both Pebbles.
func groupKey(group uint64) []byte { return binary.BigEndian.AppendUint64(nil, group) }
