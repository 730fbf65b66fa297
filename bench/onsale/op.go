package onsale

import "github.com/usher-seats/usher/wire"

// An op is what a user asks.
type op uint8

const (
	opQueue op = iota // the queue's state, which is the same for everybody
	opJoin
	opPlace
	opQuit
	opAdmit
	opMap
	opPick
	opBest
	opPay
	opConfirm
	opRelease
	opLeave
	ops
)

var opNames = [ops]string{"queue", "join", "place", "quit", "admit", "map", "hold", "best", "pay", "confirm", "release", "leave"}

func (o op) String() string { return opNames[o] }

// kind is the frame that asks for a crowd's op.
func (o op) kind() wire.Kind {
	switch o {
	case opQueue:
		return wire.KindQueue
	case opJoin:
		return wire.KindJoin
	case opPlace:
		return wire.KindPlace
	}
	return wire.KindQuit
}

// changes reports whether the op changes the server, so that it has an id.
func (o op) changes() bool { return o != opQueue && o != opPlace && o != opMap }

// An answer is what a user was told, whatever carried it.
type answer struct {
	status wire.Status
	number uint64          // join, place
	early  bool            // join, place: it is an entry number
	token  []byte          // join: the ticket, valid until the handler returns
	place  wire.PlaceState // place
	state  wire.QueueState // queue
}
