package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"

	"github.com/usher-seats/usher/bench/baselines/etcd"
	"github.com/usher-seats/usher/bench/baselines/postgres"
	"github.com/usher-seats/usher/bench/baselines/redis"
	"github.com/usher-seats/usher/bench/baselines/usher"
)

// programs are the servers that are measured, and where they may write.
type programs struct {
	usher, redis, etcd string
	template           *postgres.Template
	data               string // parent of data directories; empty: with temporary files
	hugePages          bool   // PostgreSQL has them
	release            func() // gives huge pages back
}

const (
	builtUsher = "../../bin/usher" // by `make build` at the top
	builtEtcd  = "bin/etcd"        // by installEtcd
)

// findPrograms finds all servers, or says all that is missing.
func findPrograms(ctx context.Context, data string) (*programs, error) {
	p := &programs{usher: builtUsher, data: data}
	var missing [4]error
	missing[0] = usher.Usable(p.usher)
	p.redis, missing[1] = redis.Program()
	p.etcd, missing[2] = etcd.Program(builtEtcd)
	bin, err := postgres.Programs()
	missing[3] = err
	if err := errors.Join(missing[:]...); err != nil {
		return nil, fmt.Errorf("%w\n`make baselines` at the top of the project installs and builds what is missing", err)
	}
	p.hugePages, p.release = postgres.HugePages()
	if p.template, err = postgres.MakeTemplate(ctx, bin, data); err != nil {
		p.release()
		return nil, err
	}
	return p, nil
}

func (p *programs) close() {
	p.template.Remove()
	p.release()
}

// install gets what is missing: Debian's packages of PostgreSQL and Redis, if
// root asks, and etcd from its source, since Debian's is years behind.
func install(ctx context.Context) error {
	var packages []string
	if _, err := postgres.Programs(); err != nil {
		packages = append(packages, "postgresql")
	}
	if _, err := redis.Program(); err != nil {
		packages = append(packages, "redis-server")
	}
	if len(packages) > 0 {
		if err := installPackages(ctx, packages); err != nil {
			return err
		}
	}
	if _, err := os.Stat(builtEtcd); err == nil {
		return nil
	}
	fmt.Fprintln(os.Stderr, "building etcd, once; this takes a minute")
	return run(ctx, "go", "build", "-o", builtEtcd, "go.etcd.io/etcd/server/v3")
}

func installPackages(ctx context.Context, packages []string) error {
	apt, err := exec.LookPath("apt-get")
	if err != nil || os.Geteuid() != 0 {
		return fmt.Errorf("missing: %v. Only root can install them, with apt-get: install them, or run this as root", packages)
	}
	if err := run(ctx, apt, "update", "-qq"); err != nil {
		return err
	}
	return run(ctx, apt, append([]string{"install", "-y", "-qq", "--no-install-recommends"}, packages...)...)
}

func run(ctx context.Context, program string, args ...string) error {
	cmd := exec.CommandContext(ctx, program, args...)
	cmd.Stdout, cmd.Stderr = os.Stderr, os.Stderr
	cmd.Env = append(os.Environ(), "DEBIAN_FRONTEND=noninteractive")
	if err := cmd.Run(); err != nil {
		return fmt.Errorf("%s: %w", program, err)
	}
	return nil
}
