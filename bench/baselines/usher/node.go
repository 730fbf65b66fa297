package usher

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"syscall"
	"time"

	"github.com/usher-seats/usher/bench/baselines/process"
)

// A Node is one `usher serve` with a directory and addresses of its own, which
// stay the same when it is killed and started again.
type Node struct {
	Addr string // of the binary protocol

	program     string
	dir         string
	admin, peer string
	args        []string
	process     *process.Process // nil: not running
}

// NewNode makes a place for a node. Every change is synced before it is
// acknowledged, which is not a setting.
func NewNode(program, parent string) (*Node, error) {
	dir, err := process.Dir(parent, "usher", nil)
	if err != nil {
		return nil, err
	}
	ports, err := process.FreePorts(3)
	if err != nil {
		return nil, err
	}
	n := &Node{program: program, dir: dir}
	for i, at := range []*string{&n.Addr, &n.admin, &n.peer} {
		*at = fmt.Sprintf("127.0.0.1:%d", ports[i])
	}
	return n, nil
}

// Start runs the node and returns when it serves.
func (n *Node) Start(ctx context.Context) error {
	args := append([]string{
		"serve", "--data", filepath.Join(n.dir, "data"), "--http", "off",
		"--listen", n.Addr, "--admin", n.admin, "--peer", n.peer,
	}, n.args...)
	var err error
	if n.process, err = process.Start(process.Command{Program: n.program, Args: args}); err != nil {
		return err
	}
	return n.process.Await(ctx, func(ctx context.Context) error { return n.get(ctx, "/readyz", nil) })
}

// Kill ends the node with SIGKILL.
func (n *Node) Kill() {
	if n.process != nil {
		n.process.Kill()
		n.process = nil
	}
}

// Remove ends the node and removes its data.
func (n *Node) Remove() {
	if n.process != nil {
		n.process.Stop(syscall.SIGKILL) // nobody wants its data
	}
	_ = os.RemoveAll(n.dir) // a directory that stays behind is only untidy
}

// A group is one in what GET /admin/cluster says.
type group struct {
	Leader  string
	Members []struct{ Voter bool }
}

// settle waits until every group has a leader and a vote on each node.
func (n *Node) settle(ctx context.Context, nodes int) error {
	return n.process.Await(ctx, func(ctx context.Context) error {
		var v struct {
			Settled bool
			Groups  []group
		}
		if err := n.get(ctx, "/admin/cluster", &v); err != nil {
			return err
		}
		if !v.Settled || len(v.Groups) < 2 {
			return fmt.Errorf("the cluster has not settled")
		}
		for _, g := range v.Groups {
			voters := 0
			for _, m := range g.Members {
				if m.Voter {
					voters++
				}
			}
			if g.Leader == "" || voters != nodes {
				return fmt.Errorf("a group has %d voters and the leader %q", voters, g.Leader)
			}
		}
		return nil
	})
}

const adminTimeout = 5 * time.Second

// get asks the admin listener. A nil out means that the body does not matter.
func (n *Node) get(ctx context.Context, path string, out any) error {
	ctx, cancel := context.WithTimeout(ctx, adminTimeout)
	defer cancel()
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+n.admin+path, nil)
	if err != nil {
		return err
	}
	resp, err := http.DefaultClient.Do(r)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return fmt.Errorf("%s answered %s", path, resp.Status)
	}
	if out == nil {
		return nil
	}
	return json.NewDecoder(resp.Body).Decode(out)
}
