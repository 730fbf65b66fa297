// Package live pushes prepared frames to tens of thousands of connections. It knows
// topics, frames and subscribers, and nothing of what the frames say.
//
// A topic has a Source, which says what is new since a position. At most ten times a
// second, and less often when the processor time that the operator grants is used
// up, a topic asks its source once, and the frame that it gets is written as the
// same bytes to everybody who is up to date. Whoever could not take it is skipped,
// and later gets one frame with all that he has missed.
//
// # Goroutines
//
// No goroutine belongs to a subscriber. Each topic with subscribers has one, which
// asks the source and hands rounds to the writers. Writers own the subscribers: a
// few of them write to plain sockets without ever blocking, on threads of their own
// whose processor time is measured; others write to encrypted connections, with a
// deadline, because a TLS record cannot be left half written. One poller waits for
// all sockets: it notices who is gone, who can be written to again, and reads what
// WebSocket clients send. (On systems other than Linux all connections count as
// encrypted, and each has a goroutine that reads.)
//
// # Who owns what
//
// A subscriber's place in the stream belongs to its writer, from when it was let in
// to its end; everybody else posts to the writer. What it has sent belongs to the
// poller, or to the goroutine that reads from its encrypted connection. Frames are
// immutable and shared: a subscriber who stops reading keeps one of them in memory,
// and his socket's buffer, which is of a fixed size.
package live
