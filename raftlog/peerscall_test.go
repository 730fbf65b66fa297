package raftlog

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// TestCalls proves that calls go to whom they are for and bring back its answer
// or error, small ones and the largest, to others and to the node itself.
func TestCalls(t *testing.T) {
	r := newRig(t, 3, func(_ int, c *PeerConfig) {
		c.Serve = func(_ context.Context, h PeerHello, body []byte) ([]byte, error) {
			if bytes.Equal(body, []byte("fail")) {
				return nil, fmt.Errorf("%s is told to\nfail", c.Node)
			}
			return append([]byte(h.Node+">"+c.Node+":"), body...), nil
		}
	})
	for _, from := range r.nodes {
		for _, to := range r.nodes {
			prefix := from.name + ">" + to.name + ":"
			sizes := []int{0, 10, largeFrame}
			if from == r.nodes[0] {
				sizes = append(sizes, maxCallBody-len(prefix))
			}
			for _, n := range sizes {
				body := bytes.Repeat([]byte{'x'}, n)
				answer, err := from.peers.Call(t.Context(), to.name, body)
				if err != nil || string(answer) != prefix+string(body) {
					t.Fatalf("%s calls %s with %d bytes: %d came back, %v", from.name, to.name, n, len(answer), err)
				}
			}
			_, err := from.peers.Call(t.Context(), to.name, []byte("fail"))
			if from == to {
				continue // the error is the function's own
			}
			var told *PeerError
			if !errors.As(err, &told) || told.Node != to.name || told.Text != to.name+" is told to fail" {
				t.Errorf("%s calls %s: %v", from.name, to.name, err)
			}
			if errors.Is(err, ErrUnreachable) {
				t.Errorf("%v claims that nothing was sent", err)
			}
		}
	}
}

// TestCallLimits proves that what is too large is refused at either end.
func TestCallLimits(t *testing.T) {
	r := newRig(t, 2, func(_ int, c *PeerConfig) {
		c.Serve = func(context.Context, PeerHello, []byte) ([]byte, error) { return make([]byte, maxCallBody+1), nil }
	})
	p := r.nodes[0].peers
	for _, call := range []func([]byte) error{
		func(b []byte) error { _, err := p.Call(t.Context(), "n1", b); return err },
		func(b []byte) error { _, err := p.CallAddr(t.Context(), r.nodes[1].addr, b); return err },
	} {
		if err := call(make([]byte, maxCallBody+1)); err == nil || !strings.Contains(err.Error(), "a call of 4194305 bytes") {
			t.Errorf("a call too large: %v", err)
		}
		if err := call(nil); err == nil || !strings.Contains(err.Error(), "the answer has 4194305 bytes") {
			t.Errorf("an answer too large: %v", err)
		}
	}
	if _, err := p.Call(t.Context(), "n7", nil); !errors.Is(err, ErrUnreachable) || !errors.Is(err, errNoAddress) {
		t.Errorf("a node without an address: %v", err)
	}
}

// TestCallsAreBounded proves that a node serves many calls of another at a time,
// never more than its limit, and that further ones wait for the caller's patience.
func TestCallsAreBounded(t *testing.T) {
	var running, most atomic.Int32
	full := make(chan struct{})
	r := newRig(t, 2, func(_ int, c *PeerConfig) {
		c.Serve = func(ctx context.Context, _ PeerHello, body []byte) ([]byte, error) {
			n := running.Add(1)
			defer running.Add(-1)
			for old := most.Load(); n > old && !most.CompareAndSwap(old, n); old = most.Load() {
			}
			select {
			case <-full:
			case <-ctx.Done():
			}
			return body, nil
		}
	})
	p := r.nodes[0].peers
	var calls sync.WaitGroup
	for i := range 3 * maxCalls {
		calls.Go(func() {
			want := fmt.Sprint(i)
			if answer, err := p.Call(t.Context(), "n1", []byte(want)); err != nil || string(answer) != want {
				t.Errorf("call %d: %q, %v", i, answer, err)
			}
		})
	}
	eventually(t, "the limit reached", func() bool { return running.Load() == maxCalls })
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Millisecond)
	defer cancel()
	if _, err := p.Call(ctx, "n1", nil); !errors.Is(err, ErrUnreachable) || !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("a call beyond the limit: %v", err)
	}
	close(full)
	calls.Wait()
	if n := most.Load(); n != maxCalls {
		t.Errorf("%d calls ran at a time, want %d", n, maxCalls)
	}
}

// TestCallTimes proves that a call ends when its caller's time does, on both
// sides, that this is not taken for "not sent", and that others go on.
func TestCallTimes(t *testing.T) {
	ended, release := make(chan error, 2), make(chan struct{})
	r := newRig(t, 2, func(_ int, c *PeerConfig) {
		c.Serve = func(ctx context.Context, _ PeerHello, body []byte) ([]byte, error) {
			if len(body) == 0 {
				<-ctx.Done()
				ended <- ctx.Err()
				<-release // else its answer might just make it
			}
			return body, nil
		}
	})
	p := r.nodes[0].peers
	for name, call := range map[string]func(context.Context) error{
		"by name":    func(ctx context.Context) error { _, err := p.Call(ctx, "n1", nil); return err },
		"by address": func(ctx context.Context) error { _, err := p.CallAddr(ctx, r.nodes[1].addr, nil); return err },
	} {
		ctx, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
		err := call(ctx)
		cancel()
		if !errors.Is(err, context.DeadlineExceeded) || errors.Is(err, ErrUnreachable) {
			t.Errorf("%s: %v", name, err)
		}
		<-ended
	}
	close(release)
	if answer, err := p.Call(t.Context(), "n1", []byte("x")); err != nil || string(answer) != "x" {
		t.Errorf("a call after that: %q, %v", answer, err)
	}
}

// TestCloseEndsCalls proves that Close does not wait for the patience of
// callers, at either end.
func TestCloseEndsCalls(t *testing.T) {
	for _, closes := range []string{"caller", "server"} {
		t.Run(closes, func(t *testing.T) {
			started := make(chan struct{}, 2)
			r := newRig(t, 2, func(_ int, c *PeerConfig) {
				c.Serve = func(ctx context.Context, _ PeerHello, _ []byte) ([]byte, error) {
					started <- struct{}{}
					<-ctx.Done()
					return nil, ctx.Err()
				}
			})
			p := r.nodes[0].peers
			var calls sync.WaitGroup
			calls.Go(func() {
				if _, err := p.Call(context.Background(), "n1", nil); err == nil {
					t.Error("a call by name ended well")
				}
			})
			calls.Go(func() {
				if _, err := p.CallAddr(context.Background(), r.nodes[1].addr, nil); err == nil {
					t.Error("a call by address ended well")
				}
			})
			<-started
			<-started
			begin := time.Now()
			if closes == "caller" {
				r.nodes[0].peers.Close()
			} else {
				r.nodes[1].peers.Close()
			}
			calls.Wait()
			if d := time.Since(begin); d > maxCallTime/2 {
				t.Errorf("it took %v", d)
			}
			if _, err := r.nodes[0].peers.Call(t.Context(), "n1", nil); !errors.Is(err, ErrUnreachable) {
				t.Errorf("a call after that: %v", err)
			}
		})
	}
}

// TestDeadNode proves that a node which accepts connections and says nothing is
// given up, that it fails fast while it is known to be dead, that others are not
// held up, and that nobody but those who ask dials it.
func TestDeadNode(t *testing.T) {
	dead, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer dead.Close()
	var r *rig
	r = newRig(t, 2, func(_ int, c *PeerConfig) {
		c.Addr = func(node string) string {
			if node == "dead" {
				return dead.Addr().String()
			}
			return r.addr(node)
		}
	})
	p := r.nodes[0].peers
	first := make(chan error, 1)
	go func() { _, err := p.Call(context.Background(), "dead", nil); first <- err }()
	for i := range 100 {
		if _, err := callOf(t, p, "n1"); err != nil {
			t.Fatalf("call %d to another node: %v", i, err)
		}
	}
	if err := <-first; !errors.Is(err, ErrUnreachable) {
		t.Errorf("the first call: %v", err)
	}
	// Now it is known.
	if _, err := callOf(t, p, "dead"); !errors.Is(err, ErrUnreachable) {
		t.Errorf("the next call: %v", err)
	}
	if p.Reachable("dead") || !p.Reachable("n1") || !p.Reachable("n0") || p.Reachable("unknown") {
		t.Error("Reachable is wrong about some node")
	}
	eventually(t, "the caller heard of at the other node", func() bool { return r.nodes[1].peers.Reachable("n0") })
}

// TestStreamIsFoundDeadAndComesBack proves that a stream which a network has
// swallowed is noticed, that calls fail fast then, and that soon after the
// network has healed they pass.
func TestStreamIsFoundDeadAndComesBack(t *testing.T) {
	r := newRig(t, 2, nil)
	p, wire := r.nodes[0].peers, r.nodes[0].wire(r.nodes[1].addr)
	if _, err := callOf(t, p, "n1"); err != nil {
		t.Fatal(err)
	}
	wire.cut()
	if _, err := callOf(t, p, "n1"); err == nil || !strings.Contains(err.Error(), errPeerSilent.Error()) {
		t.Errorf("a call into a cut network: %v", err)
	}
	eventually(t, "the node known to be unreachable", func() bool {
		begin := time.Now()
		_, err := callOf(t, p, "n1")
		return errors.Is(err, ErrUnreachable) && time.Since(begin) < connectTimeout/10
	})
	wire.heal()
	eventually(t, "a call after the network has healed", func() bool { _, err := callOf(t, p, "n1"); return err == nil })
	if lines := r.nodes[0].logs.with("connection to a node was lost", "n1"); len(lines) != 1 {
		t.Errorf("logged %q", lines)
	}
}
