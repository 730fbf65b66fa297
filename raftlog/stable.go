package raftlog

// A stableStore keeps one group's term and vote as one record.
type stableStore struct{}

func (s *stableStore) Set(key, val []byte) error              { return nil }
func (s *stableStore) Get(key []byte) ([]byte, error)         { return nil, errNotFound }
func (s *stableStore) SetUint64(key []byte, val uint64) error { return nil }
func (s *stableStore) GetUint64(key []byte) (uint64, error)   { return 0, errNotFound }
