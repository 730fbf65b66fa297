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
// Within its context a call is repeated when the connection breaks, the shard
// has no leader, its leader is another node, or the server is overloaded; with
// growing pauses. All attempts of a request have one id, and a shard answers an
// id that it has seen with its first answer, so a request is done at most once
// however often it is sent. Only where no attempt can have arrived does the
// client take a new id.
//
// Every attempt carries a deadline: the end of the call's context in shard time,
// or Options.RequestTimeout from the start. The shard refuses it later, so an
// attempt that was given up when its time was over cannot strike afterwards. A
// context that is cancelled earlier does not call back what was sent.
//
// Shards remember the ids of requests for five minutes after their holds have
// ended. A repetition after that is refused as wire.StatusTooOld, never done a
// second time.
//
// # Time
//
// Deadlines are shard time, which is no wall clock: it is stamped by the shard's
// leader and stands still while there is none. Clients learn it from answers and
// are never asked to have the right time. Hold.ExpiresAt is until when the seats
// are surely held: it counts from before the request was sent, on this machine's
// monotonic clock. The shard does not end a hold earlier, so a checkout whose
// countdown ends there is never surprised; a confirm a moment later may still
// succeed.
//
// # Pipes
//
// A Pipe is for programs that do all this themselves and want millions of frames
// a second.
package client
