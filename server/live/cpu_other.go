//go:build !linux

package live

import "time"

var processBegan = time.Now()

// threadTime counts waiting too where threads cannot be measured: intervals are then
// longer than they would have to be.
func threadTime() time.Duration { return time.Since(processBegan) }
