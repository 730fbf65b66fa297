//go:build !linux

package live

import "time"

// plainWrites says that no connection can be written to without waiting: all are
// written to with a deadline.
const plainWrites = false

// A pusher writes to connections. It belongs to a writer.
type pusher struct{}

func (p *pusher) init() {}

func (p *pusher) write(s *sub, b []byte) (n int, err error) { return writeBy(s.conn, b, tlsPatience) }

func tune(*sub, time.Duration) error { return nil }
