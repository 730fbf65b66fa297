// Package bench puts load on a running cluster through the Go client, measures
// it, and then audits what the cluster says against its own ledger.
//
// A workload is a script: what each slot of a pipelined connection asks next,
// and what it makes of the answer. Run gives every connection a goroutine,
// keeps depth requests of each in flight, and measures from the write of a
// request to the read of its answer. When the time is over it waits for every
// answer and runs the workload's audit; a result whose audit failed is a failed
// run, however fast it was.
//
// The load is closed-loop: a slot asks again when it has its answer. Figures of
// a closed loop say what a system can carry, not what a visitor would feel when
// more come than it can carry.
package bench
