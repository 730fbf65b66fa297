// Package proc runs usher as a process of its own in tests, so that it can be
// killed, stopped and started like one.
package proc

import (
	"bytes"
	"context"
	"fmt"
	"math/rand/v2"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"
)

// startTimeout is how long a node may take to be ready; a test that measures
// the start reads Node.Started.
const startTimeout = 60 * time.Second

// module is what is built.
const module = "github.com/usher-seats/usher"

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
	// In its own module: tests that are a module of theirs do not have all that it needs.
	root, err := exec.Command("go", "list", "-m", "-f", "{{.Dir}}", module).Output()
	if err != nil {
		return "", fmt.Errorf("find usher: %w", err)
	}
	build := exec.Command("go", "build", "-o", bin, module+"/cmd/usher")
	build.Dir = strings.TrimSpace(string(root))
	out, err := build.CombinedOutput()
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
	output *output
}

// An output is what a process has written so far.
type output struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (o *output) Write(b []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.text.Write(b)
}

func (o *output) String() string {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.text.String()
}

// A Place is where a node lives: its data directory and its addresses, the same
// for every process that runs there.
type Place struct {
	Dir   string
	Under []string // command that the node runs under, as in StartUnder; none: by itself

	addr, http, admin, peer string
	args                    []string
}

// NewPlace makes a directory for a node and finds free ports for it. args are
// further flags of serve.
func NewPlace(t testing.TB, args ...string) *Place {
	t.Helper()
	return &Place{Dir: t.TempDir(), addr: freePort(t), http: freePort(t), admin: freePort(t), peer: freePort(t), args: args}
}

// NewPlaceAt is NewPlace for a node that has its addresses to itself: one for
// clients, one for other nodes.
func NewPlaceAt(t testing.TB, clients, peers string, args ...string) *Place {
	t.Helper()
	return &Place{
		Dir: t.TempDir(), addr: clients + ":7700", http: clients + ":8080", admin: clients + ":9090", peer: peers + ":7701", args: args,
	}
}

// Instead is a place with the same addresses, other data and other flags: for a
// node that pretends to be the one that lives here.
func (p *Place) Instead(t testing.TB, args ...string) *Place {
	t.Helper()
	q := *p
	q.Dir, q.args = t.TempDir(), args
	return &q
}

// freePort finds a port below those that the system gives to outgoing
// connections: it must still be free when the node starts again. Until the test ends
// no other test gets it, in this process or another: the same port of an address that
// nothing else uses says that it is taken.
func freePort(t testing.TB) string {
	t.Helper()
	const first, last = 12_000, 32_000
	for range 100 {
		port := first + rand.IntN(last-first)
		claim, err := net.Listen("tcp", fmt.Sprintf("127.255.0.1:%d", port))
		if err != nil {
			continue
		}
		l, err := net.Listen("tcp", fmt.Sprintf("127.0.0.1:%d", port))
		if err != nil {
			claim.Close()
			continue
		}
		t.Cleanup(func() { claim.Close() })
		defer l.Close()
		return l.Addr().String()
	}
	t.Fatalf("no free port between %d and %d", first, last)
	return ""
}

// Start runs a node and returns when it is ready. The test's end kills it.
func (p *Place) Start(t testing.TB) *Node {
	t.Helper()
	return p.StartUnder(t, p.Under...)
}

// StartUnder runs a node under a command such as strace -D, which must replace
// itself by the one it is given.
func (p *Place) StartUnder(t testing.TB, command ...string) *Node {
	t.Helper()
	n := p.launch(t, command)
	n.AwaitReady()
	return n
}

// Launch runs a node that may not become ready. The test's end kills it.
func (p *Place) Launch(t testing.TB) *Node {
	t.Helper()
	return p.launch(t, p.Under)
}

func (p *Place) launch(t testing.TB, command []string) *Node {
	t.Helper()
	n := &Node{Addr: p.addr, HTTP: "http://" + p.http, Admin: "http://" + p.admin, Peer: p.peer, t: t, ended: make(chan struct{}), output: new(output)}
	args := append(slices.Clone(command), Binary(t), "serve", "--data", p.Dir, "--listen", p.addr, "--http", p.http, "--admin", p.admin, "--peer", p.peer)
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
	return n
}

// AwaitReady waits until a node that was launched is ready.
func (n *Node) AwaitReady() {
	n.t.Helper()
	n.poll()
	n.Started = time.Since(n.Begun)
}

// Ended reports whether the process is gone.
func (n *Node) Ended() bool {
	select {
	case <-n.ended:
		return true
	default:
		return false
	}
}

// Output is what the process has written so far, its log above all.
func (n *Node) Output() string { return n.output.String() }

func (n *Node) poll() {
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
	n.awaitEnd()
}

func (n *Node) awaitEnd() {
	n.t.Helper()
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
