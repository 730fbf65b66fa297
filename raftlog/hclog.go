package raftlog

import (
	"context"
	"io"
	"log/slog"
	"sync"
	"time"

	"github.com/hashicorp/go-hclog"
)

// raftLogger gives what raft logs to log, from warnings up, and each message once in
// a while. Elections that a
// node runs and loses are warnings, too, so they show.
func raftLogger(log *slog.Logger) hclog.Logger {
	l := hclog.NewInterceptLogger(&hclog.LoggerOptions{Level: hclog.Off, Output: io.Discard})
	l.RegisterSink(&slogSink{log: log, said: make(map[string]time.Time)})
	return l
}

// sayAgain is for how long raft does not repeat itself. A follower that is gone
// costs its leader several lines a second, in each group.
const sayAgain = 10 * time.Second

type slogSink struct {
	log *slog.Logger

	mu   sync.Mutex
	said map[string]time.Time // raft has some tens of messages
}

// repeats reports whether a message was logged a moment ago.
func (s *slogSink) repeats(msg string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	now := time.Now()
	if now.Sub(s.said[msg]) < sayAgain {
		return true
	}
	s.said[msg] = now
	return false
}

// Accept is called with every message, whatever its level.
func (s *slogSink) Accept(_ string, level hclog.Level, msg string, args ...any) {
	switch {
	case level >= hclog.Warn && s.repeats(msg):
	case level >= hclog.Error:
		s.log.Log(context.Background(), slog.LevelError, msg, args...)
	case level == hclog.Warn:
		s.log.Log(context.Background(), slog.LevelWarn, msg, args...)
	}
}
