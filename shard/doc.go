// Package shard decides every reservation for a set of events. It is a pure
// state machine: no clock, no goroutines, no I/O, no randomness. Replicas that
// apply the same log hold the same state.
//
// # Who may do what
//
// One goroutine applies the log: it calls Apply, Read, NextDue, AppendImage, Parts,
// EncodePart, LoadPart and Start, one at a time, and is the only writer. Everybody
// else may call Event, Events, Look, Query and the methods of an Event at any time;
// they take no lock, and never make the applier wait.
//
// # An event
//
// The event is the unit of everything: nothing that happens to one depends on
// another. That is not only tidy. A snapshot has a part for each event, encoded at
// different entries, and replay skips per event what its part contains; a bound
// shared by events, such as on expiries per Apply, would be used up differently
// the second time. The one bound that events share is that of the stages: see
// berths.
//
// The state of a seat is three bits in three planes of atomic words; see Event. A
// reader of one word needs no more. A reader of several uses the sequence word,
// and after a few tries asks the applier for a copy, who hands them out between
// entries. An operation that changes seats raises the version by one, and so does
// every hold that expires; a fence is the version of the grant.
//
// # Time
//
// Entries carry shard time. An event has a time of its own, a constant away from
// that: deadlines, ids, the floor, the retry window and all times in answers are in
// event time; see Event.Now. So nothing in an event is rewritten when it comes to a
// shard with another time. Only what a shard does before and after an event's life
// there, such as to give up a creation, is in shard time.
//
// # Moves
//
// An event moves in numbered steps, each an operation in a log; whoever sees to the
// move may repeat any of them. AppendImage takes an image, while the event is on
// sale. Import brings it to the other shard, chunk by chunk, where it becomes a
// stage: a Shard inside the shard, which nobody can see. Replay has the stage go
// through the old shard's entries since then, those without records for the event
// included, with their own indexes and stamps; EventOf says which records of an
// entry are needed. Freeze stops the event in the old shard, and its answer says
// what the stage must come to: when it has gone through the entry of the Freeze, its
// event is frozen too, at the same time and with the same hash. Adopt compares the
// hash and lets the event go on here; Drop ends it there. Thaw gives the move up
// instead. What is restored from a backup arrives in the same way, without a Replay.
//
// An event, or the memory of one that has left, refuses the steps of moves that are
// over: those with lower numbers than it has seen. That leaves one hole. After an
// Adopt whose move was given up, by a Thaw over there, the event is in two shards,
// and both would take operations: the directory knows which of them is meant. The
// other is a ghost, until a later move replaces it.
//
// # Holds
//
// What is remembered of a request is a flat record without pointers: 128 bytes for
// a hold, 56 for a memo, which is the answer to any other request or to a hold
// that was refused. Both are found by their id in a table of 8-byte words that
// also serves the early look of readers; see everSeen. A hold of more than four
// seats has a list of 4 bytes per seat beside its record, in classes of a power of
// two. So a hold of up to four seats takes 128 bytes and 13 to 26 in the table.
// Beside that an event has 1 KB, some 1.7 bytes per seat in rows of 50, with its
// manifest, and once it has holds, a wheel of 8 KB and a change ring that grows to
// 8 bytes per four seats, at least 32 KB if so much changes.
//
// Live holds are in a timer wheel, chained through their records. Holds that have
// ended and own nothing, and memos, are in two queues in the order of their end;
// what is a retry window old is forgotten, and then its id is below the event's
// floor. Bookings are remembered as long as they own a seat.
//
// # The waiting room
//
// An event may have a room, which gives out numbers, calls them by rate and by how
// many are inside, and lets those in who come in time. It is due at an exact time,
// see roomDueAt, so that a replica which looks more often than another does nothing
// else. Redeem and leave are repeatable because of what they do, like confirm and
// release; issue is remembered by its id if it was granted.
//
// # What is decided, where the vocabulary leaves it open
//
// A request is refused for the first of these: it is malformed; its event is
// unknown; its id was seen, and then it gets the first answer; its deadline has
// passed; its id is ahead of time, or too old; the sale is not open; the event has
// a waiting room and the pass does not do; too many seats for a hold; a hold time beyond the maximum; too many for the buyer; seats
// that do not exist; that are taken; that want a key; that would leave an orphan.
//
// Extend, pay, confirm and release speak of a hold by its id and fence. A call
// that has been done already gets its answer again, whatever its deadline: with
// the times of the latest such call, which are its own unless there was one in
// between. On a hold whose life is over, extend and pay answer what became of it.
// A hold that is paying cannot be extended.
//
// Confirm without names means all seats that are held; on an expired hold those
// that it held then; and if there are none, it repeats the latest confirm. Confirm
// of seats that were given back, or partly so, answers released, and changes
// nothing. Confirm of seats that expired, all or those it names, is a new grant:
// if all of them are free they are booked, and what it does not name may be asked
// for later; if one is not, none is ever booked by this hold again. Neither sale
// window nor channel nor the buyer's limit matters then. A hold of which a part
// was booked before the rest expired is booked, and its rest is confirmed late in
// the same way.
//
// Release of seats that were given back already is done. Release of seats of which
// one is booked answers booked and changes nothing.
//
// Cancel and exchange ask for seats that are booked, even if others of the same
// hold still are held. An exchange that makes a booking larger respects seats per
// hold and seats per buyer; its answer names all seats that are now booked.
//
// Block and unblock leave seats blocked, or not blocked: it does not matter if
// some were so before. A channel's key that opens nothing is as good as none.
//
// An event that was deleted stays deleted: a creation that comes late answers
// unknown event. One that has left may come back, by a move with a higher number,
// but is not created anew while that is remembered.
//
// Whatever somebody asks of an event that is frozen, or has left not long ago, is
// answered moved before anything else is looked at. Queries go on to tell of a
// frozen event what was last true.
//
// A step of a move that is over answers exists, but all steps of the move that has
// brought the event answer ok and change nothing, and a Thaw may be repeated. After
// an Adopt the stage is gone, whatever the answer: whoever is refused imports the
// image again, as a new attempt.
package shard
