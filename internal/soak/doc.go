// Package soak breaks a running node on purpose and for long: kill -9 under
// load, stops in the middle of snapshots, gigabytes through the log. Its tests
// run with `make soak` (build tag soak); a short one of each kind is part of
// `make test`.
package soak
