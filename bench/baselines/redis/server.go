package redis

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"syscall"
	"time"

	"github.com/redis/rueidis"

	"github.com/usher-seats/usher/bench/baselines/process"
)

// A Durability is what Redis does with a change before it acknowledges it.
type Durability uint8

const (
	// Memory writes nothing to disk at all.
	Memory Durability = iota + 1
	// EverySecond appends to a file, and syncs it once a second.
	EverySecond
	// Always appends and syncs before any answer of the same turn of the event loop.
	Always
)

func (d Durability) flags() []string {
	flags := []string{"--save", ""}
	switch d {
	case EverySecond:
		return append(flags, "--appendonly", "yes", "--appendfsync", "everysec")
	case Always:
		return append(flags, "--appendonly", "yes", "--appendfsync", "always")
	}
	return append(flags, "--appendonly", "no")
}

// A Server is a Redis of its own.
type Server struct {
	program    string
	durability Durability
	dir        string
	port       int
	process    *process.Process // nil: not running
}

// Program finds redis-server.
func Program() (string, error) {
	path, err := exec.LookPath("redis-server")
	if err != nil {
		return "", fmt.Errorf("no Redis here: install redis-server (apt-get install redis-server)")
	}
	return path, nil
}

// NewServer makes a place for a server in a directory below parent.
func NewServer(program, parent string, d Durability) (*Server, error) {
	dir, err := process.Dir(parent, "redis", nil)
	if err != nil {
		return nil, err
	}
	ports, err := process.FreePorts(1)
	if err != nil {
		return nil, err
	}
	return &Server{program: program, durability: d, dir: dir, port: ports[0]}, nil
}

// Start runs the server with what its directory has, and returns when it answers.
func (s *Server) Start(ctx context.Context) error {
	args := append([]string{
		"--bind", "127.0.0.1", "--port", fmt.Sprint(s.port), "--dir", s.dir, "--daemonize", "no",
		"--loglevel", "warning", "--maxmemory-policy", "noeviction", "--activedefrag", "no",
		"--auto-aof-rewrite-percentage", "0", // no rewriting while it is measured
	}, s.durability.flags()...)
	var err error
	if s.process, err = process.Start(process.Command{Program: s.program, Args: args}); err != nil {
		return err
	}
	return s.process.Await(ctx, func(ctx context.Context) error {
		c, err := s.Client()
		if err != nil {
			return err
		}
		defer c.Close()
		return c.Do(ctx, c.B().Ping().Build()).Error()
	})
}

// answerTimeout bounds what a client waits for an answer, as long as others' scripts
// are served before it.
const answerTimeout = time.Minute

// Client is one connection that pipelines.
func (s *Server) Client() (rueidis.Client, error) {
	return rueidis.NewClient(rueidis.ClientOption{
		InitAddress:       []string{s.Addr()},
		DisableCache:      true,
		DisableRetry:      true, // a script that may have been carried out is not repeated
		ForceSingleClient: true,
		AlwaysPipelining:  true,
		PipelineMultiplex: -1,
		ConnWriteTimeout:  answerTimeout,
	})
}

// Addr is where the server listens.
func (s *Server) Addr() string { return fmt.Sprintf("127.0.0.1:%d", s.port) }

// Kill ends the server with SIGKILL.
func (s *Server) Kill() {
	if s.process != nil {
		s.process.Kill()
		s.process = nil
	}
}

// Remove ends the server and removes its data.
func (s *Server) Remove() {
	if s.process != nil {
		s.process.Stop(syscall.SIGKILL) // nobody wants its data
	}
	_ = os.RemoveAll(s.dir) // a directory that stays behind is only untidy
}
