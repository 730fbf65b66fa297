// Package server is a node: it owns the stores and groups of raftlog, the binary
// listener, the HTTP frontend and the admin listener, and routes every request
// to the group that decides it. It decides nothing about seats itself.
//
// # Goroutines
//
// A connection of the binary protocol has two: a reader, which parses frames,
// answers whatever needs no log straight from memory and hands everything else
// to the groups in one batch per group and read; and a writer, which sends what
// the groups' appliers have answered meanwhile in one write. Appliers never
// wait for a connection: they append to a buffer and wake the writer.
//
// # Who owns what
//
// A lane (the batch under construction for one group) belongs to the reader
// until it is submitted. A flight (the answers of one submitted batch) belongs
// to whichever goroutine answers that batch, and is given to the connection as
// a whole. So the only lock between an applier and a socket is taken once per
// batch, for the time of a copy.
package server
