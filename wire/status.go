package wire

import "strconv"

// Status is how a request ended. Below StatusMoved the shard has decided and the
// decision is part of its history; from StatusMoved on the system did not decide.
type Status uint16

const (
	StatusOK Status = 0

	// The shard decided against the request; nothing changed.

	StatusTaken           Status = 1  // SeatsLost: seats that are not free
	StatusNotEnough       Status = 2  // best available or area: no such seats left
	StatusOrphan          Status = 3  // SeatsLost: single seats the request would leave over
	StatusExpired         Status = 4  // the hold's time is over
	StatusReleased        Status = 5  // the hold, or those of its seats, were given back
	StatusBooked          Status = 6  // the hold, or those of its seats, are booked: cancel, do not release
	StatusLost            Status = 7  // late confirm: the seats had moved on; refund
	StatusFenceMismatch   Status = 8  // the fence is not the hold's
	StatusBuyerLimit      Status = 9  // more seats than the event allows a buyer
	StatusHoldLimit       Status = 10 // more seats than the event allows in a hold
	StatusNotOpen         Status = 11 // outside the event's sale window
	StatusChannelRequired Status = 12 // SeatsLost: seats that want a channel's key
	StatusLate            Status = 13 // Clock: the request's deadline had passed
	StatusTooOld          Status = 14 // Clock: the id is older than the shard's memory
	StatusIDReused        Status = 15 // the id was used for a request with other content
	StatusIDAhead         Status = 16 // Clock: the id is from the future of the shard
	StatusUnknownEvent    Status = 17
	StatusUnknownHold     Status = 18
	StatusUnknownSeat     Status = 19 // SeatsLost: ids that are no seats of this event or hold
	StatusUnknownPlace    Status = 20 // Text: no such section, category, area or channel
	StatusBadRequest      Status = 21 // Text: what is wrong and what to do
	StatusNoExtension     Status = 22 // the hold has been extended as often as the event allows
	StatusExists          Status = 23 // Text: the event, or key, exists with other content
	StatusCancelled       Status = 24 // the booking was cancelled
	StatusNotBooked       Status = 25 // the hold is not booked, so there is nothing to cancel or exchange
	StatusNoRoom          Status = 26 // the event has no waiting room, or not the one that the ticket is for
	StatusNotCalled       Status = 27 // QueuePlace: the ticket's number has not been called yet
	StatusLapsed          Status = 28 // the ticket's number was called and nobody came in time, or his visit is over
	StatusPassRequired    Status = 29 // the event has a waiting room: a hold needs a pass
	StatusPassEnded       Status = 30 // the pass's time is over, it was given back, or all its seats are booked
	StatusPassLimit       Status = 31 // more seats than the pass has left
	StatusRoomClosed      Status = 32 // the waiting room takes nobody any more
	StatusLeft            Status = 33 // the ticket's number was given back

	// The system did not decide. All but StatusUnknown mean: not applied.

	StatusMoved        Status = 256 // Text: address of the node that leads the event's shard
	StatusOverloaded   Status = 257 // refused before any work; try again later
	StatusUnavailable  Status = 258 // the shard has no leader here
	StatusUnknown      Status = 259 // it may or may not be applied: repeat with the same id
	StatusStopping     Status = 260 // the node is shutting down
	StatusUnauthorized Status = 261 // no or wrong key at hello
	StatusForbidden    Status = 262 // the key's role does not allow this
	StatusBadFrame     Status = 263 // Text: a frame or body that cannot be read
	StatusBadVersion   Status = 264 // Text: no common protocol version
	StatusUnknownKind  Status = 265 // Text: no such kind of request
	StatusTooLarge     Status = 266 // Text: beyond a limit of size or number
	StatusDiskFull     Status = 267 // holds are refused until there is disk space again
)

var statusNames = map[Status]string{
	StatusOK:              "ok",
	StatusTaken:           "taken",
	StatusNotEnough:       "not_enough",
	StatusOrphan:          "orphan",
	StatusExpired:         "expired",
	StatusReleased:        "released",
	StatusBooked:          "booked",
	StatusLost:            "lost",
	StatusFenceMismatch:   "fence_mismatch",
	StatusBuyerLimit:      "buyer_limit",
	StatusHoldLimit:       "hold_limit",
	StatusNotOpen:         "not_open",
	StatusChannelRequired: "channel_required",
	StatusLate:            "late",
	StatusTooOld:          "too_old",
	StatusIDReused:        "id_reused",
	StatusIDAhead:         "id_ahead",
	StatusUnknownEvent:    "unknown_event",
	StatusUnknownHold:     "unknown_hold",
	StatusUnknownSeat:     "unknown_seat",
	StatusUnknownPlace:    "unknown_place",
	StatusBadRequest:      "bad_request",
	StatusNoExtension:     "no_extension",
	StatusExists:          "exists",
	StatusCancelled:       "cancelled",
	StatusNotBooked:       "not_booked",
	StatusNoRoom:          "no_room",
	StatusNotCalled:       "not_called",
	StatusLapsed:          "lapsed",
	StatusPassRequired:    "pass_required",
	StatusPassEnded:       "pass_ended",
	StatusPassLimit:       "pass_limit",
	StatusRoomClosed:      "room_closed",
	StatusLeft:            "left",
	StatusMoved:           "moved",
	StatusOverloaded:      "overloaded",
	StatusUnavailable:     "unavailable",
	StatusUnknown:         "unknown",
	StatusStopping:        "stopping",
	StatusUnauthorized:    "unauthorized",
	StatusForbidden:       "forbidden",
	StatusBadFrame:        "bad_frame",
	StatusBadVersion:      "bad_version",
	StatusUnknownKind:     "unknown_kind",
	StatusTooLarge:        "too_large",
	StatusDiskFull:        "disk_full",
}

// String is the status's stable code, the same in HTTP problems and metrics.
func (s Status) String() string {
	if name, ok := statusNames[s]; ok {
		return name
	}
	return "status_" + strconv.Itoa(int(s))
}

// Decided reports whether the shard decided the request.
func (s Status) Decided() bool { return s < StatusMoved }

// NotApplied reports whether the request certainly changed nothing.
func (s Status) NotApplied() bool { return s != StatusOK && s != StatusUnknown }
