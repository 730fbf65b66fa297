// Package client is the Go client of Usher.
//
//	c, err := client.Dial(ctx, []string{"10.0.0.1:7700", "10.0.0.2:7700"}, nil)
//	ev, err := c.Event(ctx, "summer-night")
//	hold, err := ev.HoldBest(ctx, client.BestRequest{Count: 2, Buyer: "b-17"})
//	err = hold.Pay(ctx)
//	err = hold.Confirm(ctx)
//
// A Client, its Events and Bookings are for all goroutines at once: requests of
// all of them share few connections, and what has gathered while one write was
// under way leaves with the next. A Hold and a Basket belong to one goroutine at
// a time.
//
// # Outcomes
//
// A call that did not do what it was asked to returns an *Error. Its Status says
// why: below wire.StatusMoved the shard decided so (the seats are taken, the
// hold has expired), from there on the system could not decide. Its Applied says
// whether the request may have been done all the same:
//
//   - AppliedNo: nothing was changed, and nothing will be by an attempt that is
//     still on its way.
//   - AppliedUnknown: the last answer was lost. Repeat the request with Error.ID
//     to learn what became of it, or look at the hold; do not make a new one.
//
// # Retries
//
// Within its context a call is repeated when the connection breaks or is refused,
// the shard has no leader, its leader is another node, the event is being moved
// to another shard, or the node is overloaded or about to stop; with growing
// pauses. All attempts of a request have one id, and a shard answers an id that
// it has seen with its first answer, also when the event has come from another
// shard, so a request is done at most once however often it is sent. Only where
// no attempt can have arrived does the client take a new id.
//
// A key that was stored a moment ago is not known to every node yet, so a refusal
// of the key, or of what it may do, is believed when it has lasted for a second.
//
// Every attempt carries a deadline: the end of the call's context in event time,
// or Options.RequestTimeout from the start. The shard refuses it later, so an
// attempt that was given up when its time was over cannot strike afterwards. A
// context that is cancelled earlier does not call back what was sent.
//
// Shards remember the ids of requests for five minutes after their holds have
// ended. A repetition after that is refused as wire.StatusTooOld, never done a
// second time.
//
// # Nodes
//
// The client reads from the cluster which nodes there are, every few seconds
// while it has something to ask and when a node fails, and forgets those that
// have left, unless they were given to Dial. So the nodes that it was given may
// all be replaced while it runs.
//
// Each event is asked of the node that leads its shard. When that cannot be
// reached, or says that it does not lead, all nodes are asked in turn until one
// does; of many callers only one asks. Nodes that failed are asked last for a
// second, and a dead one is dialed about ten times a second at most. Map with
// Latest, and Changes, go to another replica if no leader is found soon.
//
// # Time
//
// Deadlines are event time, which is no wall clock: it is stamped by the leader
// of the event's shard, and stands still while there is none and while the event
// is being moved, after which it goes on where it stopped. Clients learn it from
// answers and are never asked to have the right time. Hold.ExpiresAt is until
// when the seats are surely held: it counts from before the request was sent, on
// this machine's monotonic clock. The shard does not end a hold earlier, so a
// checkout whose countdown ends there is never surprised; a confirm a moment
// later may still succeed.
//
// # Pipes
//
// A Pipe is for programs that do all this themselves and want millions of frames
// a second.
package client
