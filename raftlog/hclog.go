package raftlog

import (
	"context"
	"io"
	"log/slog"

	"github.com/hashicorp/go-hclog"
)

// raftLogger gives what raft logs to log, from warnings up. Elections that a
// node runs and loses are warnings, too, so they show.
func raftLogger(log *slog.Logger) hclog.Logger {
	l := hclog.NewInterceptLogger(&hclog.LoggerOptions{Level: hclog.Off, Output: io.Discard})
	l.RegisterSink(slogSink{log})
	return l
}

type slogSink struct{ log *slog.Logger }

// Accept is called with every message, whatever its level.
func (s slogSink) Accept(_ string, level hclog.Level, msg string, args ...any) {
	switch {
	case level >= hclog.Error:
		s.log.Log(context.Background(), slog.LevelError, msg, args...)
	case level == hclog.Warn:
		s.log.Log(context.Background(), slog.LevelWarn, msg, args...)
	}
}
