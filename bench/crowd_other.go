//go:build !linux

package bench

import (
	"context"
	"errors"
)

// StartCrowd needs Linux: it waits for all sockets with epoll.
func StartCrowd(context.Context, CrowdOptions) (Crowd, error) {
	return nil, errors.New("the live workload needs Linux")
}
