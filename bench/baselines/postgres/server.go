package postgres

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"

	"github.com/jackc/pgx/v5"

	"github.com/usher-seats/usher/bench/baselines/process"
)

// settings make a server for this work of the defaults, which are for a machine
// of twenty years ago. What is durable stays durable: fsync, full_page_writes and
// synchronous_commit are on.
var settings = []string{
	"fsync=on",
	"full_page_writes=on",
	"synchronous_commit=on",
	"shared_buffers=1GB",
	"wal_level=minimal", // nobody replicates, so nothing is logged for replicas
	"max_wal_senders=0",
	"max_wal_size=8GB", // no checkpoint while it is measured
	"checkpoint_timeout=30min",
	"wal_buffers=64MB",
	"plan_cache_mode=force_generic_plan", // else each statement is planned anew, for an array of its length
	"commit_delay=1000",                  // microseconds in which more commits join a sync, when five sessions are busy
	"jit=off",                            // these queries are over before a compiler would have begun
	"random_page_cost=1.1",
	"effective_cache_size=4GB",
	"max_connections=200",
	"max_parallel_workers_per_gather=0", // both cores are busy
	"ssl=off",
	"huge_pages=try", // see HugePages
	"log_min_messages=error",
	"log_min_error_statement=panic",
}

// A Server is a PostgreSQL of its own.
type Server struct {
	dir     string
	port    int
	process *process.Process
}

// Programs finds the newest PostgreSQL that Debian's packages have installed, or
// the one of the PATH's directory given; its directory of programs.
func Programs() (string, error) {
	dirs, err := filepath.Glob("/usr/lib/postgresql/*/bin")
	if err != nil {
		return "", err
	}
	dirs = append(dirs, filepath.SplitList(os.Getenv("PATH"))...)
	best, version := "", 0
	for _, dir := range dirs {
		if _, err := os.Stat(filepath.Join(dir, "initdb")); err != nil {
			continue
		}
		n := 0
		// A directory without a version is the last choice.
		_, _ = fmt.Sscan(filepath.Base(filepath.Dir(dir)), &n)
		if best == "" || n > version {
			best, version = dir, n
		}
	}
	if best == "" {
		return "", fmt.Errorf("no PostgreSQL here: install postgresql (apt-get install postgresql)")
	}
	return best, nil
}

// A Template is a data directory that servers begin with a copy of, which takes
// less time than making one.
type Template struct {
	bin, dir string
	owner    *process.Identity
}

// MakeTemplate makes one in a directory below parent.
func MakeTemplate(ctx context.Context, bin, parent string) (*Template, error) {
	t := &Template{bin: bin}
	var err error
	// PostgreSQL refuses to be root's.
	if t.owner, err = process.Unprivileged("postgres", "nobody"); err != nil {
		return nil, err
	}
	if t.dir, err = process.Dir(parent, "template", t.owner); err != nil {
		return nil, err
	}
	err = process.Run(ctx, process.Command{
		Program: filepath.Join(bin, "initdb"), User: t.owner,
		Args: []string{"-D", filepath.Join(t.dir, "data"), "-U", "usher", "-A", "trust", "-E", "UTF8", "--locale=C", "--no-sync", "--wal-segsize=64"},
	})
	if err != nil {
		t.Remove()
		return nil, err
	}
	return t, nil
}

// Remove removes the template's data.
func (t *Template) Remove() {
	_ = os.RemoveAll(t.dir) // a directory that stays behind is only untidy
}

// StartServer copies the template to a directory below parent and runs a server on
// it.
func StartServer(ctx context.Context, t *Template, parent string) (*Server, error) {
	s := new(Server)
	if err := s.start(ctx, t, parent); err != nil {
		s.Remove()
		return nil, err
	}
	return s, nil
}

func (s *Server) start(ctx context.Context, t *Template, parent string) error {
	var err error
	if s.dir, err = process.Dir(parent, "postgres", t.owner); err != nil {
		return err
	}
	ports, err := process.FreePorts(1)
	if err != nil {
		return err
	}
	s.port = ports[0]
	data := filepath.Join(s.dir, "data")
	if err := process.Run(ctx, process.Command{Program: "cp", Args: []string{"-a", filepath.Join(t.dir, "data"), data}, User: t.owner}); err != nil {
		return err
	}
	args := []string{"-D", data, "-h", "127.0.0.1", "-p", fmt.Sprint(s.port), "-k", s.dir}
	for _, set := range settings {
		args = append(args, "-c", set)
	}
	s.process, err = process.Start(process.Command{Program: filepath.Join(t.bin, "postgres"), Args: args, User: t.owner})
	if err != nil {
		return err
	}
	return s.process.Await(ctx, func(ctx context.Context) error {
		c, err := pgx.Connect(ctx, s.URL())
		if err != nil {
			return err
		}
		return c.Close(ctx)
	})
}

// URL is how clients connect: over TCP, as frontends on other machines do.
func (s *Server) URL() string {
	return fmt.Sprintf("postgres://usher@127.0.0.1:%d/postgres?sslmode=disable", s.port)
}

// Remove ends the server and removes its data.
func (s *Server) Remove() {
	if s.process != nil {
		s.process.Stop(syscall.SIGQUIT) // at once: nobody wants its data
	}
	if s.dir != "" {
		_ = os.RemoveAll(s.dir) // a directory that stays behind is only untidy
	}
}

// Settings are those that differ from the defaults.
func Settings() string { return strings.Join(slices.Clone(settings), " ") }
