package server

import "testing"

// TestCaughtUp proves which replicas get a vote, or leadership: those that lack little of
// what their leader has, and never one that has nothing, which would be a voter
// that does not vote.
func TestCaughtUp(t *testing.T) {
	const replica = 7
	for name, c := range map[string]struct {
		said   replicaAnswer
		leader uint64
		want   bool
	}{
		"it has all":             {replicaAnswer{Replica: replica, Applied: 9}, 9, true},
		"it is ahead of a look":  {replicaAnswer{Replica: replica, Applied: 12}, 9, true},
		"it is a little behind":  {replicaAnswer{Replica: replica, Applied: 9}, 9 + catchUpEntries, true},
		"it is too far behind":   {replicaAnswer{Replica: replica, Applied: 9}, 10 + catchUpEntries, false},
		"it has nothing":         {replicaAnswer{Replica: replica}, 3, false},
		"another one is there":   {replicaAnswer{Replica: replica + 1, Applied: 9}, 9, false},
		"there is none (or yet)": {replicaAnswer{}, 0, false},
	} {
		if got := c.said.hasCaughtUp(replica, c.leader); got != c.want {
			t.Errorf("%s: %v, want %v", name, got, c.want)
		}
	}
}
