package etcd

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
	"go.uber.org/zap"

	"github.com/usher-seats/usher/bench/baselines/process"
)

// A Server is a cluster of etcd on this machine. etcd syncs its log before it
// acknowledges; that is its default, and stays.
type Server struct {
	dirs      []string
	urls      []string // for clients
	processes []*process.Process
}

// Program finds etcd: the given one, which `make baselines` builds, or else that
// of the PATH.
func Program(built string) (string, error) {
	if _, err := os.Stat(built); err == nil {
		return built, nil
	}
	path, err := exec.LookPath("etcd")
	if err != nil {
		return "", fmt.Errorf("no etcd here: build it (make baselines), or install etcd-server (apt-get install etcd-server)")
	}
	return path, nil
}

// StartServer runs a cluster of some nodes in directories below parent.
func StartServer(ctx context.Context, program, parent string, nodes int) (*Server, error) {
	s := new(Server)
	if err := s.start(ctx, program, parent, nodes); err != nil {
		s.Remove()
		return nil, err
	}
	return s, nil
}

func (s *Server) start(ctx context.Context, program, parent string, nodes int) error {
	ports, err := process.FreePorts(2 * nodes)
	if err != nil {
		return err
	}
	var members, peers []string
	for i := range nodes {
		s.urls = append(s.urls, fmt.Sprintf("http://127.0.0.1:%d", ports[2*i]))
		peers = append(peers, fmt.Sprintf("http://127.0.0.1:%d", ports[2*i+1]))
		members = append(members, fmt.Sprintf("n%d=%s", i+1, peers[i]))
	}
	for i := range nodes {
		dir, err := process.Dir(parent, "etcd", nil)
		if err != nil {
			return err
		}
		s.dirs = append(s.dirs, dir)
		p, err := process.Start(process.Command{Program: program, Args: []string{
			"--name", fmt.Sprintf("n%d", i+1), "--data-dir", filepath.Join(dir, "data"),
			"--listen-client-urls", s.urls[i], "--advertise-client-urls", s.urls[i],
			"--listen-peer-urls", peers[i], "--initial-advertise-peer-urls", peers[i],
			"--initial-cluster", strings.Join(members, ","), "--initial-cluster-state", "new",
			"--logger", "zap", "--log-level", "error",
			"--quota-backend-bytes", fmt.Sprint(8 << 30),
			"--snapshot-count", "100000",
			"--max-txn-ops", "256",
		}})
		if err != nil {
			return err
		}
		s.processes = append(s.processes, p)
	}
	for i, p := range s.processes {
		if err := p.Await(ctx, func(ctx context.Context) error { return s.answers(ctx, i) }); err != nil {
			return err
		}
	}
	return nil
}

const askTimeout = 2 * time.Second

func (s *Server) answers(ctx context.Context, node int) error {
	ctx, cancel := context.WithTimeout(ctx, askTimeout)
	defer cancel()
	c, err := connect(ctx, s.urls[node:node+1])
	if err != nil {
		return err
	}
	defer c.Close()
	_, err = c.Get(ctx, "ready")
	return err
}

// connect makes a client with one connection.
func connect(ctx context.Context, urls []string) (*clientv3.Client, error) {
	return clientv3.New(clientv3.Config{
		Context: ctx, Endpoints: urls, Logger: zap.NewNop(), DialTimeout: askTimeout,
		MaxCallRecvMsgSize: 64 << 20,
	})
}

// leader is the address of the node that leads: asking it saves a hop.
func (s *Server) leader(ctx context.Context) (string, error) {
	c, err := connect(ctx, s.urls)
	if err != nil {
		return "", err
	}
	defer c.Close()
	for _, url := range s.urls {
		status, err := c.Status(ctx, url)
		if err != nil {
			return "", err
		}
		if status.Leader == status.Header.MemberId {
			return url, nil
		}
	}
	return "", fmt.Errorf("none of %d nodes leads", len(s.urls))
}

// Remove ends the cluster and removes its data.
func (s *Server) Remove() {
	for _, p := range s.processes {
		p.Stop(syscall.SIGKILL) // nobody wants its data
	}
	for _, dir := range s.dirs {
		_ = os.RemoveAll(dir) // a directory that stays behind is only untidy
	}
}
