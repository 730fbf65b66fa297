package client

import (
	"bufio"
	"errors"
	"fmt"
	"io"

	"github.com/usher-seats/usher/wire"
)

const (
	readBuffer = 64 << 10 // answers that fit are taken from it where they stand

	// largeStep is what is allocated for a large answer at a time, in bytes: the
	// announced length alone must not cost memory.
	largeStep = 1 << 20
)

// hearing marks the connection alive with every read that brings bytes.
type hearing struct{ c *conn }

func (h hearing) Read(b []byte) (int, error) {
	n, err := h.c.nc.Read(b)
	if n > 0 {
		h.c.heard()
	}
	return n, err
}

// read is the reader goroutine.
func (c *conn) read() {
	in := bufio.NewReaderSize(hearing{c}, readBuffer)
	for {
		if err := c.readFrame(in); err != nil {
			if errors.Is(err, io.EOF) {
				err = errors.New("the node closed the connection")
			}
			c.fail(fmt.Errorf("read from %s: %w", c.addr, err))
			return
		}
	}
}

func (c *conn) readFrame(in *bufio.Reader) error {
	head, err := in.Peek(wire.HeaderSize)
	if err != nil {
		return err
	}
	h, err := wire.ParseHeader(head, wire.MaxAnswerBody)
	if err != nil {
		return err
	}
	if size := wire.HeaderSize + h.Body; size <= in.Size() {
		frame, err := in.Peek(size)
		if err != nil {
			return err
		}
		if err := c.deliver(h, frame[wire.HeaderSize:], false); err != nil {
			return err
		}
		_, err = in.Discard(size)
		return err
	}
	if _, err := in.Discard(wire.HeaderSize); err != nil {
		return err
	}
	body, err := readLarge(in, h.Body)
	if err != nil {
		return err
	}
	return c.deliver(h, body, true)
}

func readLarge(r io.Reader, n int) ([]byte, error) {
	body := make([]byte, 0, min(n, largeStep))
	for len(body) < n {
		if len(body) == cap(body) {
			body = append(make([]byte, 0, min(2*cap(body), n)), body...)
		}
		got, err := io.ReadFull(r, body[len(body):cap(body)])
		body = body[:len(body)+got]
		if err != nil {
			return nil, err
		}
	}
	return body, nil
}

// deliver gives an answer to the call that waits for it. own says that body may
// be kept; otherwise it is copied. An answer nobody waits for is dropped.
func (c *conn) deliver(h wire.Header, body []byte, own bool) error {
	if h.Flags&wire.FlagAnswer == 0 {
		return fmt.Errorf("a frame of kind %d that is no answer", h.Kind)
	}
	if h.Request == pingRequest {
		return nil
	}
	index, gen := uint32(h.Request), uint32(h.Request>>32)
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.err != nil {
		return c.err
	}
	if int(index) >= len(c.slots) {
		return fmt.Errorf("an answer to request %d, which was never made", h.Request)
	}
	s := &c.slots[index]
	if s.gen != gen || !s.waiting {
		if int32(s.gen-gen) > 0 {
			return nil // the answer came twice
		}
		return fmt.Errorf("an answer to request %d, which was never made", h.Request)
	}
	if s.kind != h.Kind {
		return fmt.Errorf("request %d was of kind %d, its answer is of kind %d", h.Request, s.kind, h.Kind)
	}
	if q := s.call; q != nil {
		q.status = h.Status
		q.compressed = h.Flags&wire.FlagCompressed != 0
		if own {
			q.answer = body
		} else {
			q.answer = append(q.answer[:0], body...)
		}
		q.done <- struct{}{}
	}
	*s = slot{gen: gen + 1}
	c.waiting--
	c.free <- index
	return nil
}
