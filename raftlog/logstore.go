package raftlog

import "github.com/hashicorp/raft"

// A logStore is one group's part of the node's log.
//
// Truncation is bounded in bytes here and not by raft: set raft's TrailingLogs
// to 0. DeleteRange of a prefix keeps the last TrailingLogBytes of entries and
// whatever a snapshot that is being sent to a follower needs to connect to.
type logStore struct{}

func (s *logStore) FirstIndex() (uint64, error)              { return 0, nil }
func (s *logStore) LastIndex() (uint64, error)               { return 0, nil }
func (s *logStore) GetLog(index uint64, log *raft.Log) error { return raft.ErrLogNotFound }
func (s *logStore) StoreLog(log *raft.Log) error             { return nil }
func (s *logStore) StoreLogs(logs []*raft.Log) error         { return nil }
func (s *logStore) DeleteRange(min, max uint64) error        { return nil }

// bytes is the size of the entries in the log.
func (s *logStore) bytes() int64 { return 0 }

// bytesAfter is the size of the entries above index.
func (s *logStore) bytesAfter(index uint64) int64 { return 0 }

// indexForTail is the lowest index from which on the log holds at most n bytes.
func (s *logStore) indexForTail(n int64) uint64 { return 0 }
