// Package soak tests usher as a process on a real disk: kill -9 and SIGSTOP under
// load and in the middle of snapshots, a million holds that end or wait for a
// restart, gigabytes through the log, and a trace of its system calls. What it
// says of a node it has from the outside: answers, metrics, the data directory,
// the memory of the process.
//
// And clusters of such processes: nodes that are killed, stopped, cut off, drained
// and restarted while buyers buy through all of them, events that move meanwhile,
// and strangers who want to be nodes.
//
// The long tests run with `make soak` (build tag soak; SOAK_SCALE=0.1 for a
// tenth); a short one of each kind is part of `make test`. Only long tests hold
// the node to times, and they log what the machine itself did meanwhile.
package soak
