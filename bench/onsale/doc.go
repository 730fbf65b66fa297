// Package onsale plays a scenario against a real cluster: up to a hundred million
// users who come, wait, are called, choose, lose races, pay, and come back; and
// audits what the cluster said.
//
// The load is open: when a user asks follows from the scenario and not from how
// fast answers come, and latency is counted from when a request was meant to be
// sent. So a cluster, or a load generator, that cannot keep up shows as latency.
//
// Users are of two kinds. The crowd, outside, is arrays indexed by user and one
// wheel of milliseconds, 42 bytes a user; its requests are frames of their own on
// the client's pipes, a few connections to each node. Visitors, inside, are few:
// they ask through the Go client, or HTTP, and each is a record of some hundred
// bytes with a step to take and a time to take it.
//
// What a user decides follows from the seed, the user and the matter. When he
// decides it depends on the cluster, so two runs are alike and not the same.
package onsale
