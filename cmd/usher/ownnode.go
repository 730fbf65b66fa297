package main

import (
	"bufio"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"
)

// An ownNode is a node that a tool runs for itself, as a process of its own, so
// that what is measured is a real server and not a goroutine next door.
type ownNode struct {
	addr, metrics, http, admin, peer string

	dir string
	cmd *exec.Cmd
	log tail
}

// A tail keeps the end of what is written to it, for when something goes wrong.
// Owned by the goroutine of exec.Cmd until the process has ended.
type tail struct{ text []byte }

// tailBytes is how much a tail keeps.
const tailBytes = 4 << 10

func (t *tail) Write(b []byte) (int, error) {
	t.text = append(t.text, b...)
	if extra := len(t.text) - tailBytes; extra > 0 {
		t.text = append(t.text[:0], t.text[extra:]...)
	}
	return len(b), nil
}

const (
	// ownNodeStop is how long a node may take to end in good order; its data are
	// thrown away in any case.
	ownNodeStop = 30 * time.Second
	// ownClusterStart is how long nodes may take until they are one cluster.
	ownClusterStart = 2 * time.Minute
)

// startNode runs this program's serve on free ports of loopback, with a data
// directory of its own below parent. More flags of serve may be given.
func startNode(ctx context.Context, parent string, flags ...string) (*ownNode, error) {
	self, err := os.Executable()
	if err != nil {
		return nil, fmt.Errorf("find this program: %w", err)
	}
	dir, err := os.MkdirTemp(parent, "usher-")
	if err != nil {
		return nil, fmt.Errorf("make a data directory: %w", err)
	}
	n := &ownNode{dir: dir}
	n.cmd = exec.CommandContext(ctx, self, append([]string{"serve", "--data", filepath.Join(dir, "data"),
		"--listen", "127.0.0.1:0", "--http", "127.0.0.1:0", "--admin", "127.0.0.1:0", "--peer", "127.0.0.1:0"}, flags...)...)
	n.cmd.Env = withoutUsher(os.Environ())
	n.cmd.Stderr = &n.log
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
		return nil, fmt.Errorf("the node did not start: %w\n%s", err, n.log.text)
	}
	if err := n.readBanner(line); err != nil {
		n.stop()
		return nil, err
	}
	return n, nil
}

// oneNodeBanner is what serve says when it is ready; see serveNode.
const oneNodeBanner = "usher serves after "

// readBanner finds the addresses in what serve prints when it is ready.
func (n *ownNode) readBanner(line string) error {
	_, text, ok := strings.Cut(line, oneNodeBanner)
	if !ok {
		return fmt.Errorf("the node did not start: %s", strings.TrimSpace(line))
	}
	for part := range strings.SplitSeq(text, ", ") {
		what, at, _ := strings.Cut(part, " on ")
		switch {
		case strings.HasSuffix(what, "binary protocol"):
			n.addr = at
		case what == "HTTP":
			n.http = at
		case what == "admin":
			n.admin = "http://" + at
		case what == "peers":
			n.peer = at
		}
	}
	if n.addr == "" || n.http == "" || n.admin == "" || n.peer == "" {
		return fmt.Errorf("the node started with no address: %s", strings.TrimSpace(line))
	}
	n.metrics = n.admin + "/metrics"
	return nil
}

// startCluster runs several nodes as one cluster and returns when all of its shards
// are on all of them, or on as many as they want.
func startCluster(ctx context.Context, parent string, count int, flags ...string) (nodes []*ownNode, err error) {
	defer func() {
		if err != nil {
			stopNodes(nodes)
		}
	}()
	look := adminCall{wait: true}
	for i := range count {
		own := append([]string{"--node", fmt.Sprintf("n%d", i+1)}, flags...)
		if i > 0 {
			own = append(own, "--join", nodes[0].peer)
		}
		n, err := startNode(ctx, parent, own...)
		if err != nil {
			return nodes, err
		}
		nodes = append(nodes, n)
		look.admins.values = append(look.admins.values, n.admin)
	}
	ctx, cancel := context.WithTimeout(ctx, ownClusterStart)
	defer cancel()
	return nodes, look.await(ctx, func(c *clusterView) (string, error) {
		if len(c.Nodes) < count || !c.Settled {
			return fmt.Sprintf("%d of %d nodes are in the cluster", len(c.Nodes), count), nil
		}
		return "", nil
	})
}

func stopNodes(nodes []*ownNode) {
	for _, n := range nodes {
		_ = n.cmd.Process.Kill() // all at once, so that none misses another
	}
	for _, n := range nodes {
		n.stop()
	}
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
