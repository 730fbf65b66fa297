package directory

import "slices"

// A layout says which nodes have a replica of which shard, and is changed freely
// until it is as it should be. It belongs to the function that made it.
type layout struct {
	nodes []string // that may have replicas, in the order of joining
	lists [][]int  // by shard-1: places in nodes, the preferred leader's first; none twice
	count []int    // replicas by place in nodes
	leads []int    // shards that prefer a node as their leader, by place in nodes
}

// newLayout is how things are, without replicas on nodes that are gone or
// draining.
func newLayout(t *Table) *layout {
	l := &layout{nodes: eligible(t.nodes), lists: make([][]int, len(t.shards))}
	l.count = make([]int, len(l.nodes))
	l.leads = make([]int, len(l.nodes))
	at := make(map[string]int, len(l.nodes))
	for i, name := range l.nodes {
		at[name] = i
	}
	for i, s := range t.shards {
		for _, r := range s.Replicas {
			if n, ok := at[r.Node]; ok {
				l.lists[i] = append(l.lists[i], n)
				l.count[n]++
			}
		}
		if len(l.lists[i]) > 0 {
			l.leads[l.lists[i][0]]++
		}
	}
	return l
}

// names are the nodes of the i-th list.
func (l *layout) names(i int) []string {
	names := make([]string, len(l.lists[i]))
	for k, n := range l.lists[i] {
		names[k] = l.nodes[n]
	}
	return names
}

// fill gives every shard replicas until it has want of them, or one on every
// node, always on the node with the fewest, the oldest of several.
func (l *layout) fill(want int) {
	want = min(want, len(l.nodes))
	for i := range l.lists {
		for len(l.lists[i]) < want {
			best := -1
			for n := range l.nodes {
				if !slices.Contains(l.lists[i], n) && (best < 0 || l.count[n] < l.count[best]) {
					best = n
				}
			}
			if len(l.lists[i]) == 0 {
				l.leads[best]++
			}
			l.lists[i] = append(l.lists[i], best)
			l.count[best]++
		}
	}
}

// lead evens out who leads, by changing the order of lists.
//
// It is the problem of semi-matchings (Harvey, Ladner, Lovász, Tamir 2006): as
// long as leaders are not even, there is a node u and a node v that leads at
// least two shards less, and a way from u to v on which each node hands a shard
// that it leads to the next. A way exists for as long as anything can be
// improved, and every way taken brings the sum of squares down, so the loop ends
// with leaders that are as even as the lists allow. Of several ways it takes a
// short one, so that few leaders change. Behind the leader, a list keeps the order
// that it had.
func (l *layout) lead() {
	was := make([][]int, len(l.lists))
	for i, list := range l.lists {
		was[i] = slices.Clone(list)
	}
	for l.improve() {
	}
	for i, list := range l.lists {
		head := list[0]
		copy(list, was[i])
		l.prefer(i, head)
	}
}

// improve takes a way from a node that leads the most to one that leads less,
// if there is one.
func (l *layout) improve() bool {
	led := make([][]int, len(l.nodes)) // lists by their first node
	for i, list := range l.lists {
		led[list[0]] = append(led[list[0]], i)
	}
	from := make([]int, len(l.nodes))
	for n := range from {
		from[n] = n
	}
	slices.SortStableFunc(from, func(a, b int) int { return l.leads[b] - l.leads[a] })
	for _, u := range from {
		if l.relieve(u, led) {
			return true
		}
	}
	return false
}

// relieve looks for the nearest node that leads at least two shards less than u,
// of several the one that leads the fewest, and takes the way there.
func (l *layout) relieve(u int, led [][]int) bool {
	handed := make([]int, len(l.nodes)) // the list by which a node was reached
	for n := range handed {
		handed[n] = -1
	}
	reached := func(n int) bool { return n == u || handed[n] >= 0 }
	for ring := []int{u}; len(ring) > 0; {
		var next []int
		best := -1
		for _, n := range ring {
			for _, i := range led[n] {
				for _, v := range l.lists[i][1:] {
					if reached(v) {
						continue
					}
					handed[v] = i
					next = append(next, v)
					if l.leads[v]+2 <= l.leads[u] && (best < 0 || l.leads[v] < l.leads[best]) {
						best = v
					}
				}
			}
		}
		if best >= 0 {
			l.leads[u]--
			l.leads[best]++
			for n := best; n != u; {
				i := handed[n]
				before := l.lists[i][0]
				l.prefer(i, n)
				n = before
			}
			return true
		}
		ring = next
	}
	return false
}

// prefer puts a node to the front of a list.
func (l *layout) prefer(i, n int) {
	list := l.lists[i]
	at := slices.Index(list, n)
	copy(list[1:at+1], list[:at])
	list[0] = n
}
