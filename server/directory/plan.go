package directory

import (
	"fmt"
	"slices"
	"strings"
)

// A Change is a step towards an even cluster: a SetReplicas that would bring it.
type Change struct {
	Shard uint32
	Nodes []string // the preferred leader first
	Why   string   // for people
}

// Plan is what it takes until the nodes that are not draining have the same
// number of replicas, give or take one, and leaders are as even as that allows.
// No other way to even replicas moves fewer. It is empty if there is nothing to
// do.
func Plan(t *Table) []Change {
	l := newLayout(t)
	if len(l.lists) == 0 {
		return nil
	}
	why := l.spread()
	l.lead()
	var changes []Change
	for i, s := range t.shards {
		names := l.names(i)
		if slices.EqualFunc(s.Replicas, names, func(r Replica, name string) bool { return r.Node == name }) {
			continue
		}
		reason := strings.Join(why[i], "; ")
		if reason == "" {
			reason = fmt.Sprintf("even leaders: %s instead of %s", names[0], s.Replicas[0].Node)
		}
		changes = append(changes, Change{Shard: s.ID, Nodes: names, Why: reason})
	}
	return changes
}

// spread moves replicas from the node with the most to the node with the fewest
// until they differ by at most one, and says why by list. A node with more
// replicas than another has a shard that the other has not, so there is always
// one to move.
func (l *layout) spread() map[int][]string {
	why := make(map[int][]string)
	for {
		most, fewest := 0, 0
		for n := range l.nodes {
			if l.count[n] > l.count[most] {
				most = n
			}
			if l.count[n] < l.count[fewest] {
				fewest = n
			}
		}
		if l.count[most]-l.count[fewest] < 2 {
			return why
		}
		i := l.movable(most, fewest, why)
		why[i] = append(why[i], fmt.Sprintf("even replicas: %s has %d, %s has %d",
			l.nodes[most], l.count[most], l.nodes[fewest], l.count[fewest]))
		l.hand(i, most, fewest)
	}
}

// movable is a list with one node and without the other: one that is not touched
// yet rather than another, so that no shard changes most of its replicas at once,
// and then one that the node does not lead.
func (l *layout) movable(with, without int, touched map[int][]string) int {
	best, bestCost := -1, 0
	for i, list := range l.lists {
		if !slices.Contains(list, with) || slices.Contains(list, without) {
			continue
		}
		cost := 2 * len(touched[i])
		if list[0] == with {
			cost++
		}
		if best < 0 || cost < bestCost {
			best, bestCost = i, cost
		}
	}
	return best
}

// hand gives a node's replica to another node.
func (l *layout) hand(i, from, to int) {
	list := l.lists[i]
	at := slices.Index(list, from)
	list[at] = to
	l.count[from]--
	l.count[to]++
	if at == 0 {
		l.leads[from]--
		l.leads[to]++
	}
}
