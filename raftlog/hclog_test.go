package raftlog

import (
	"bytes"
	"log/slog"
	"strings"
	"testing"
)

// TestRaftLogger: of what raft says, warnings and errors get into the node's
// log, with what belongs to them, and nothing else does.
func TestRaftLogger(t *testing.T) {
	var out bytes.Buffer
	l := raftLogger(slog.New(slog.NewTextHandler(&out, nil))).With("id", 7)
	l.Info("entering leader state")
	l.Debug("votes")
	l.Warn("heartbeat timeout", "last", "n1")
	l.Error("failed to store", "error", "disk")
	lines := strings.Split(strings.TrimSpace(out.String()), "\n")
	if len(lines) != 2 ||
		!strings.Contains(lines[0], `level=WARN msg="heartbeat timeout" id=7 last=n1`) ||
		!strings.Contains(lines[1], `level=ERROR msg="failed to store" id=7 error=disk`) {
		t.Errorf("log:\n%s", out.String())
	}
}
