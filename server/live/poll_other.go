//go:build !linux

package live

import "time"

// A poller reads from each connection with a goroutine of its own, where there is
// nothing better.
type poller struct{ hub *Hub }

func newPoller(h *Hub) (*poller, error) { return &poller{h}, nil }

func (p *poller) close() {}

func (p *poller) add(s *sub) error {
	p.hub.running.Go(func() {
		buf := make([]byte, readBuffer)
		for {
			n, err := s.conn.Read(buf)
			if n > 0 && !s.heard(buf[:n], p.hub.now()) {
				return
			}
			if err != nil {
				s.writer.post(mail{sub: s, gone: true})
				return
			}
		}
	})
	return s.conn.SetReadDeadline(time.Time{})
}

func (p *poller) remove(*sub) {}
