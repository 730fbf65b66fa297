// Package process runs servers for a measurement: on free ports of loopback, in
// directories of their own, and for no longer than this program lives.
package process

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"
)

const (
	startTimeout = 30 * time.Second      // until a server answers
	stopTimeout  = 10 * time.Second      // until a server has ended in good order
	askEvery     = 10 * time.Millisecond // whether a server answers
	outputKept   = 8 << 10               // bytes of a server's last output
)

// A Command is a program to run, by its path.
type Command struct {
	Program string
	Args    []string
	User    *Identity // whom it runs as; nil: as this program does
}

// A Process is a server that runs.
type Process struct {
	command Command
	cmd     *exec.Cmd
	output  *tail
	ended   chan struct{} // closed when the process is gone
}

// Start runs a command. It is killed when this program ends, however that is.
func Start(c Command) (*Process, error) {
	program, err := filepath.Abs(c.Program)
	if err != nil {
		return nil, err
	}
	c.Program = program
	p := &Process{command: c, output: new(tail), ended: make(chan struct{})}
	p.cmd = c.exec(context.Background())
	p.cmd.Stdout, p.cmd.Stderr = p.output, p.output
	if err := p.cmd.Start(); err != nil {
		return nil, fmt.Errorf("start %s: %w", filepath.Base(c.Program), err)
	}
	go func() {
		_ = p.cmd.Wait() // servers are killed here, which is no news
		close(p.ended)
	}()
	return p, nil
}

// Run runs a command to its end and gives its output in an error.
func Run(ctx context.Context, c Command) error {
	out, err := c.exec(ctx).CombinedOutput()
	if err != nil {
		return fmt.Errorf("%s: %w: %s", filepath.Base(c.Program), err, strings.TrimSpace(string(out)))
	}
	return nil
}

func (c *Command) exec(ctx context.Context) *exec.Cmd {
	cmd := exec.CommandContext(ctx, c.Program, c.Args...)
	cmd.Dir = "/" // a directory that every user may be in
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if c.User != nil {
		cmd.SysProcAttr.Credential = &syscall.Credential{Uid: c.User.uid, Gid: c.User.gid}
	}
	return cmd
}

// Await asks until a server answers. If it ends instead, or does not answer in
// time, the error has its last words.
func (p *Process) Await(ctx context.Context, answers func(context.Context) error) error {
	ctx, cancel := context.WithTimeout(ctx, startTimeout)
	defer cancel()
	ticker := time.NewTicker(askEvery)
	defer ticker.Stop()
	for {
		err := answers(ctx)
		if err == nil {
			return nil
		}
		select {
		case <-p.ended:
			return fmt.Errorf("%s ended: %s", filepath.Base(p.command.Program), p.output)
		case <-ctx.Done():
			return fmt.Errorf("%s does not answer: %w: %s", filepath.Base(p.command.Program), err, p.output)
		case <-ticker.C:
		}
	}
}

// Output is what the process wrote last.
func (p *Process) Output() string { return p.output.String() }

// Stop ends the process with the signal, in good order if it can.
func (p *Process) Stop(s syscall.Signal) {
	_ = p.cmd.Process.Signal(s) // it may be gone already
	select {
	case <-p.ended:
	case <-time.After(stopTimeout):
		p.Kill()
	}
}

// Kill ends the process with SIGKILL and waits until it is gone.
func (p *Process) Kill() {
	_ = p.cmd.Process.Kill() // it may be gone already
	<-p.ended
}

// Signal sends the process a signal, such as SIGSTOP.
func (p *Process) Signal(s syscall.Signal) error {
	if err := p.cmd.Process.Signal(s); err != nil {
		return fmt.Errorf("signal %s: %w", filepath.Base(p.command.Program), err)
	}
	return nil
}

// A tail keeps the end of what is written to it.
type tail struct {
	mu   sync.Mutex
	kept []byte
}

func (t *tail) Write(b []byte) (int, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.kept = append(t.kept, b...)
	if n := len(t.kept); n > 2*outputKept {
		t.kept = append(t.kept[:0], t.kept[n-outputKept:]...)
	}
	return len(b), nil
}

func (t *tail) String() string {
	t.mu.Lock()
	defer t.mu.Unlock()
	return strings.TrimSpace(string(t.kept[max(0, len(t.kept)-outputKept):]))
}

// FreePorts gives ports of loopback that nobody listens on.
func FreePorts(n int) ([]int, error) {
	var ports []int
	for range n {
		// All stay taken until all are known, so that they differ.
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			return nil, fmt.Errorf("find a free port: %w", err)
		}
		defer l.Close()
		ports = append(ports, l.Addr().(*net.TCPAddr).Port)
	}
	return ports, nil
}

// An Identity is a user that servers run as.
type Identity struct{ uid, gid uint32 }

// Unprivileged is a user other than root, for servers that refuse to be root's:
// the first of the names that exists; nil if this program is not root's anyway.
func Unprivileged(names ...string) (*Identity, error) {
	if os.Geteuid() != 0 {
		return nil, nil
	}
	for _, name := range names {
		u, err := user.Lookup(name)
		if err != nil {
			continue
		}
		uid, uidErr := strconv.ParseUint(u.Uid, 10, 32)
		gid, gidErr := strconv.ParseUint(u.Gid, 10, 32)
		if err := errors.Join(uidErr, gidErr); err != nil {
			return nil, fmt.Errorf("user %s: %w", name, err)
		}
		return &Identity{uint32(uid), uint32(gid)}, nil
	}
	return nil, fmt.Errorf("this server refuses to run as root, and there is no user of the names %s", strings.Join(names, ", "))
}

// Dir makes a directory below parent (empty: that of temporary files) that
// belongs to the identity.
func Dir(parent, name string, owner *Identity) (string, error) {
	dir, err := os.MkdirTemp(parent, "usher-baselines-"+name+"-")
	if err != nil {
		return "", fmt.Errorf("make a data directory: %w", err)
	}
	if dir, err = filepath.Abs(dir); err != nil {
		return "", err
	}
	if owner != nil {
		if err := os.Chown(dir, int(owner.uid), int(owner.gid)); err != nil {
			return "", fmt.Errorf("give a data directory away: %w", err)
		}
	}
	return dir, nil
}
