// Package proc runs usher as a process of its own in tests, so that it can be
// killed, stopped and started like one.
package proc

import (
	"bytes"
	"context"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"
)

// startTimeout is how long a node may take to be ready; a test that measures
// the start reads Node.Started.
const startTimeout = 60 * time.Second

// built is the directory with the binary; nil: none was built.
var built atomic.Pointer[string]

// Main runs a package's tests and removes the binary that they had built. Call it
// from TestMain.
func Main(m *testing.M) {
	code := m.Run()
	if dir := built.Load(); dir != nil {
		if err := os.RemoveAll(*dir); err != nil {
			fmt.Fprintln(os.Stderr, err)
		}
	}
	os.Exit(code)
}

var build = sync.OnceValues(func() (string, error) {
	dir, err := os.MkdirTemp("", "usher-bin-")
	if err != nil {
		return "", err
	}
	built.Store(&dir)
	bin := filepath.Join(dir, "usher")
	out, err := exec.Command("go", "build", "-o", bin, "github.com/usher-seats/usher/cmd/usher").CombinedOutput()
	if err != nil {
		return "", fmt.Errorf("build usher: %w\n%s", err, out)
	}
	return bin, nil
})

// Binary builds usher, once per test process, and gives its path.
func Binary(t testing.TB) string {
	t.Helper()
	bin, err := build()
	if err != nil {
		t.Fatal(err)
	}
	return bin
}

// Command is usher with arguments, to be run by the caller.
func Command(t testing.TB, args ...string) *exec.Cmd {
	t.Helper()
	return exec.Command(Binary(t), args...)
}

// A Node is a running usher. It belongs to one test goroutine.
type Node struct {
	Addr, HTTP, Admin string
	Peer              string        // for other nodes' --join
	Begun             time.Time     // when the process was started
	Started           time.Duration // from then to ready

	t      testing.TB
	cmd    *exec.Cmd
	ended  chan struct{} // closed when the process is gone
	output *bytes.Buffer // standard output and error, to be read when ended
}

// A Place is where a node lives: its data directory and its ports, the same for
// every process that runs there.
type Place struct {
	Dir                     string
	addr, http, admin, peer string
	args                    []string
}

// NewPlace makes a directory for a node and finds free ports for it. args are
// further flags of serve.
func NewPlace(t testing.TB, args ...string) *Place {
	t.Helper()
	return &Place{Dir: t.TempDir(), addr: freePort(t), http: freePort(t), admin: freePort(t), peer: freePort(t), args: args}
}

func freePort(t testing.TB) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().String()
}

// Start runs a node and returns when it is ready. The test's end kills it.
func (p *Place) Start(t testing.TB) *Node {
	t.Helper()
	return p.StartUnder(t)
}

// StartUnder runs a node under a command such as strace -D, which must replace
// itself by the one it is given.
func (p *Place) StartUnder(t testing.TB, command ...string) *Node {
	t.Helper()
	n := &Node{Addr: p.addr, HTTP: "http://" + p.http, Admin: "http://" + p.admin, Peer: p.peer, t: t, ended: make(chan struct{}), output: new(bytes.Buffer)}
	args := append(command, Binary(t), "serve", "--data", p.Dir, "--listen", p.addr, "--http", p.http, "--admin", p.admin, "--peer", p.peer)
	args = append(args, p.args...)
	n.cmd = exec.Command(args[0], args[1:]...)
	n.cmd.Stdout, n.cmd.Stderr = n.output, n.output
	// If the test process dies, its nodes do.
	n.cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	n.Begun = time.Now()
	if err := n.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	go func() {
		// How it ended is asked through ProcessState.
		_ = n.cmd.Wait()
		close(n.ended)
	}()
	t.Cleanup(n.Kill)
	n.awaitReady()
	n.Started = time.Since(n.Begun)
	return n
}

func (n *Node) awaitReady() {
	n.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), startTimeout)
	defer cancel()
	poll := time.NewTicker(2 * time.Millisecond)
	defer poll.Stop()
	for {
		resp, err := http.Get(n.Admin + "/readyz")
		if err == nil {
			resp.Body.Close()
			if resp.StatusCode == http.StatusOK {
				return
			}
		}
		select {
		case <-n.ended:
			n.t.Fatalf("usher ended before it was ready:\n%s", n.output)
		case <-ctx.Done():
			n.Kill()
			n.t.Fatalf("usher is not ready after %v:\n%s", startTimeout, n.output)
		case <-poll.C:
		}
	}
}

// Signal sends the process a signal.
func (n *Node) Signal(s syscall.Signal) {
	n.t.Helper()
	if err := n.cmd.Process.Signal(s); err != nil {
		n.t.Fatalf("signal %v: %v", s, err)
	}
}

// Kill ends the process with SIGKILL, which it cannot see coming, and waits
// until it is gone. Killing a dead one does nothing.
func (n *Node) Kill() {
	// It may have ended by itself, which is what the call is for.
	_ = n.cmd.Process.Kill()
	<-n.ended
}

// Stop asks the process to end in good order, and fails the test if it does not.
func (n *Node) Stop() {
	n.t.Helper()
	n.Signal(syscall.SIGTERM)
	select {
	case <-n.ended:
	case <-time.After(startTimeout):
		n.Kill()
		n.t.Fatalf("usher does not stop:\n%s", n.output)
	}
	if code := n.cmd.ProcessState.ExitCode(); code != 0 {
		n.t.Fatalf("usher ended with exit code %d:\n%s", code, n.output)
	}
}

// Pid is the process's id.
func (n *Node) Pid() int { return n.cmd.Process.Pid }
