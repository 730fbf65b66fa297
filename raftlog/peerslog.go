package raftlog

import (
	"log/slog"
	"strings"
	"sync"
	"time"
	"unicode"
)

const (
	// quietTime is how long nothing more is logged about a node or an address that
	// something was logged about.
	quietTime = 5 * time.Second
	// maxQuiet bounds the nodes and addresses that are remembered for that.
	maxQuiet = 256
	// maxReason bounds what another node says about why it refuses, in bytes.
	maxReason = 512
)

// A peerLog says what goes wrong with other nodes, now and then.
type peerLog struct {
	log *slog.Logger

	mu    sync.Mutex
	quiet map[string]time.Time // until when
}

// warn logs, unless there was a line about the same key a moment ago.
func (l *peerLog) warn(key, msg string, args ...any) {
	if l.due(key, time.Now()) {
		l.log.Warn(msg, args...)
	}
}

func (l *peerLog) due(key string, now time.Time) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if now.Before(l.quiet[key]) {
		return false
	}
	for k, until := range l.quiet {
		if !now.Before(until) {
			delete(l.quiet, k)
		}
	}
	if len(l.quiet) >= maxQuiet {
		return false
	}
	l.quiet[key] = now.Add(quietTime)
	return true
}

// oneLine makes text from elsewhere fit for a line of a log.
func oneLine(text string) string {
	text = strings.ToValidUTF8(text[:min(len(text), maxReason)], "?")
	return strings.Map(func(r rune) rune {
		if unicode.IsControl(r) {
			return ' '
		}
		return r
	}, text)
}
