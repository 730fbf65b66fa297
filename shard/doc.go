// Package shard decides every reservation for a set of events. It is a pure
// state machine: no clock, no goroutines, no I/O. Replicas that apply the same
// log hold the same state.
package shard
