package process

import (
	"context"
	"errors"
	"strings"
	"syscall"
	"testing"
)

// A line whose name has brackets and blanks in it is read.
func TestParseStat(t *testing.T) {
	const line = "4711 (a) b (c) S 12 4711 4711 0 -1 4194560 1 2 3 4 500 60 7 8 20 0 1 0 99 0 0"
	s, err := parseStat([]byte(line))
	if want := (stat{pid: 4711, parent: 12, own: 560, ended: 15}); err != nil || s != want {
		t.Errorf("read %+v, %v, want %+v", s, err, want)
	}
	for _, bad := range []string{"", "1 a b", "1 (a) S 1", strings.Replace(line, "500", "x", 1)} {
		if _, err := parseStat([]byte(bad)); err == nil {
			t.Errorf("%q was read", bad)
		}
	}
}

// Processor time includes that of children, alive or not.
func TestCPU(t *testing.T) {
	p, err := Start(Command{Program: "/bin/sh", Args: []string{"-c",
		"i=0; while [ $i -lt 200000 ]; do i=$((i+1)); done; (i=0; while [ $i -lt 200000 ]; do i=$((i+1)); done); echo ready; read -r never < /dev/zero"}})
	if err != nil {
		t.Fatal(err)
	}
	defer p.Kill()
	err = p.Await(t.Context(), func(context.Context) error {
		if p.Output() != "ready" {
			return errors.New("not ready")
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	used, err := CPU(p)
	if err != nil || used == 0 {
		t.Errorf("400,000 rounds took %v of processor time, %v", used, err)
	}
}

// A server that ends instead of answering is found out at once, with its last
// words.
func TestAwaitTellsLastWords(t *testing.T) {
	p, err := Start(Command{Program: "/bin/sh", Args: []string{"-c", "echo no such luck; exit 3"}})
	if err != nil {
		t.Fatal(err)
	}
	defer p.Stop(syscall.SIGTERM)
	err = p.Await(t.Context(), func(context.Context) error { return errors.New("no answer") })
	if err == nil || !strings.Contains(err.Error(), "no such luck") {
		t.Errorf("it says %v", err)
	}
}
