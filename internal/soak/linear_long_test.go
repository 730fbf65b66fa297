//go:build soak

package soak

import (
	"fmt"
	"testing"
	"time"
)

// Half of the histories have kills in the middle of snapshots.
func TestSoakLinear(t *testing.T) {
	for i := range scaled(t, 60) {
		t.Run(fmt.Sprint(i), func(t *testing.T) {
			plan := linearPlan{kills: 3, life: time.Second, quartets: 16, tellers: 12, tappers: 8}
			if i%2 == 1 {
				plan.flags = []string{"--snapshot-log-bytes", "1048576"}
			}
			testLinear(t, plan)
		})
	}
}
