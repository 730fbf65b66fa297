package main

import (
	"bufio"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"time"
)

// An ownNode is a node that a tool runs for itself, as a process of its own, so
// that what is measured is a real server and not a goroutine next door.
type ownNode struct {
	addr, http, metrics string

	dir string
	cmd *exec.Cmd
}

// ownNodeStop is how long a node may take to end in good order; its data are
// thrown away in any case.
const ownNodeStop = 30 * time.Second

// startNode runs this program's serve on free ports of loopback, with a data
// directory of its own below parent, and with more flags.
func startNode(ctx context.Context, parent string, more ...string) (*ownNode, error) {
	self, err := os.Executable()
	if err != nil {
		return nil, fmt.Errorf("find this program: %w", err)
	}
	dir, err := os.MkdirTemp(parent, "usher-")
	if err != nil {
		return nil, fmt.Errorf("make a data directory: %w", err)
	}
	n := &ownNode{dir: dir}
	args := []string{"serve", "--data", filepath.Join(dir, "data"),
		"--listen", "127.0.0.1:0", "--http", "127.0.0.1:0", "--admin", "127.0.0.1:0", "--peer", "127.0.0.1:0"}
	n.cmd = exec.CommandContext(ctx, self, append(args, more...)...)
	n.cmd.Env = withoutUsher(os.Environ())
	n.cmd.Stderr = os.Stderr
	n.cmd.Cancel = func() error { return n.cmd.Process.Signal(syscall.SIGTERM) }
	n.cmd.WaitDelay = ownNodeStop
	// If this program is killed, its node does not stay behind.
	n.cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	out, err := n.cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	if err := n.cmd.Start(); err != nil {
		return nil, fmt.Errorf("start a node: %w", err)
	}
	line, err := bufio.NewReader(out).ReadString('\n')
	if err != nil {
		n.stop()
		return nil, fmt.Errorf("the node did not start: %w", err)
	}
	addr, http, admin, err := readBanner(line)
	if err != nil {
		n.stop()
		return nil, err
	}
	n.addr, n.http, n.metrics = addr, http, "http://"+admin+"/metrics"
	return n, nil
}

// stop ends the node at once and removes its data: nobody wants them.
func (n *ownNode) stop() {
	_ = n.cmd.Process.Kill() // it may be gone already
	_ = n.cmd.Wait()         // was killed, which is no news
	_ = os.RemoveAll(n.dir)  // a directory that stays behind is only untidy
}

// withoutUsher drops the settings of this program from an environment, which
// are not meant for a node that it starts.
func withoutUsher(env []string) []string {
	var kept []string
	for _, v := range env {
		if len(v) < 6 || v[:6] != "USHER_" {
			kept = append(kept, v)
		}
	}
	return kept
}
