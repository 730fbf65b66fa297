package live

import "context"

// A Source knows what a topic has to say. Its methods are called by one goroutine at
// a time. Positions are the source's own: later ones are greater, and none is 0. ctx bounds how long
// a call may wait.
type Source interface {
	// Full prepares all that there is, for those who come.
	Full(ctx context.Context) (Update, error)
	// Since prepares what a subscriber at a position has missed. It is asked often,
	// and mostly there is nothing new.
	Since(ctx context.Context, position uint64) (Update, error)
}

// An Update takes a subscriber to a position.
type Update struct {
	Position uint64
	Frame    *Frame // nil: there is nothing to say
	// Resync says that the frame begins anew instead of going on.
	Resync bool
	// Over says that nothing follows: after the frame the subscribers are closed.
	Over bool
}
