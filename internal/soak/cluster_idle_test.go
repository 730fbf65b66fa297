//go:build soak

package soak

import (
	"fmt"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/usher-seats/usher/internal/proc"
)

const (
	// idleShards are those of three nodes that do nothing, each with three replicas.
	idleShards = 64
	// idleRest is how long the nodes are left alone before they are measured, idleSpan
	// for how long they are.
	idleRest = 15 * time.Second
	idleSpan = 20 * time.Second
	// ticksPerSecond is the unit of /proc/PID/stat.
	ticksPerSecond = 100
)

// TestSoakIdle prints what nodes cost that have nothing to do. It asserts nothing:
// other work on the machine makes waking up dearer.
func TestSoakIdle(t *testing.T) {
	cl := proc.NewCluster(t, 3, []string{"--shards", fmt.Sprint(idleShards)})
	time.Sleep(idleRest) // what follows is not about a cluster that was just made
	before := processorTicks(t, cl)
	time.Sleep(idleSpan) // the measured time itself
	used := processorTicks(t, cl) - before
	load, err := os.ReadFile("/proc/loadavg")
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("%d idle shards on 3 nodes: %.1f %% of a core for all three together; load average %s",
		idleShards, 100*float64(used)/ticksPerSecond/idleSpan.Seconds(), strings.TrimSpace(string(load)))
	cl.StopAll()
}

// processorTicks is what all nodes have used, in user and system mode.
func processorTicks(t *testing.T, cl *proc.Cluster) (sum uint64) {
	t.Helper()
	for _, n := range cl.Nodes {
		stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", n.Pid()))
		if err != nil {
			t.Fatal(err)
		}
		// The name of the program is in parentheses and may have spaces; user and
		// system time are the twelfth and thirteenth field behind it.
		fields := strings.Fields(string(stat[strings.LastIndexByte(string(stat), ')')+1:]))
		for _, f := range fields[11:13] {
			var ticks uint64
			if _, err := fmt.Sscan(f, &ticks); err != nil {
				t.Fatal(err)
			}
			sum += ticks
		}
	}
	return sum
}
