package main

import (
	"bytes"
	"context"
	"errors"
	"flag"
	"strings"
	"testing"
)

// invoke runs usher as a shell would and returns what it wrote and its exit code.
func invoke(t *testing.T, args ...string) (stdout, stderr string, code int) {
	t.Helper()
	var out, errs bytes.Buffer
	code = exitCode(run(t.Context(), args, &out, &errs), &errs)
	return out.String(), errs.String(), code
}

// TestWrongUsage proves that each mistake on the command line is told in one
// clear line on standard error, with exit code 2.
func TestWrongUsage(t *testing.T) {
	for _, c := range []struct {
		args []string
		want string
	}{
		{[]string{"sell"}, `there is no command "sell"`},
		{[]string{"serve", "--nonsense"}, "usher serve -h"},
		{[]string{"serve", "--shards", "many"}, "-shards"},
		{[]string{"serve", "now"}, `"now"`},
		{[]string{"serve", "--shards", "-1"}, "1 to 1024"},
		{[]string{"serve", "--listen", "7700"}, "want host:port"},
		{[]string{"serve", "--listen", ":0"}, "--insecure"},
		{[]string{"serve", "--admin", "0.0.0.0:0"}, "--insecure"},
		{[]string{"serve", "--http", "[::]:0"}, "--insecure"},
		{[]string{"serve", "--tls-cert", "cert.pem"}, "both"},
		{[]string{"serve", "--tls-cert", "no.pem", "--tls-key", "no.pem"}, "no.pem"},
		{[]string{"serve", "--node", strings.Repeat("x", 65)}, "at most 64"},
		{[]string{"serve", "--bootstrap", "--join", "127.0.0.1:1"}, "one of them"},
		{[]string{"serve", "--join", "127.0.0.1:1", "--shards", "2"}, "when a cluster is made"},
		{[]string{"serve", "--replicas", "8"}, "1 to 7"},
		{[]string{"serve", "--live-cpu", "-1"}, "cores"},
		{[]string{"serve", "--origins", "tickets.example"}, "https://host"},
		{[]string{"serve", "--peer", "7701"}, "want host:port"},
		{[]string{"serve", "--peer", ":0"}, "--peer-ca"},
		{[]string{"serve", "--peer-cert", "n1.pem"}, "admin certs"},
	} {
		stdout, stderr, code := invoke(t, c.args...)
		if code != exitUsage || stdout != "" || !strings.Contains(stderr, c.want) {
			t.Errorf("%v: exit %d, stdout %q, stderr %q; want exit 2 and %q", c.args, code, stdout, stderr, c.want)
		}
		if strings.Count(stderr, "\n") != 1 {
			t.Errorf("%v: stderr has not one line: %q", c.args, stderr)
		}
	}
}

// TestHelp proves that help goes to standard output, succeeds, and names every
// flag with its meaning.
func TestHelp(t *testing.T) {
	for _, args := range [][]string{{"help"}, {"-h"}, {"--help"}} {
		stdout, stderr, code := invoke(t, args...)
		if code != exitDone || stderr != "" {
			t.Errorf("%v: exit %d, stderr %q", args, code, stderr)
		}
		for _, c := range commands() {
			if !strings.Contains(stdout, c.name) || !strings.Contains(stdout, c.summary) {
				t.Errorf("%v does not list %s", args, c.name)
			}
		}
	}
	for _, args := range [][]string{{"help", "serve"}, {"serve", "-h"}} {
		stdout, stderr, code := invoke(t, args...)
		if code != exitDone || stderr != "" {
			t.Errorf("%v: exit %d, stderr %q", args, code, stderr)
		}
		for _, want := range []string{"--data DIRECTORY", "default usher-data", "--insecure", "USHER_", "openssl", "--join 127.0.0.1:7701", "--peer-cert FILE"} {
			if !strings.Contains(stdout, want) {
				t.Errorf("%v does not say %q", args, want)
			}
		}
	}
	if _, _, code := invoke(t); code != exitUsage {
		t.Errorf("usher alone exits with %d, want 2", code)
	}
}

// TestFailure proves that what is no mistake of usage exits with 1.
func TestFailure(t *testing.T) {
	var errs bytes.Buffer
	if code := exitCode(errors.New("two\nlines"), &errs); code != exitFailed || errs.String() != "usher: two lines\n" {
		t.Errorf("exit %d, stderr %q", code, errs.String())
	}
}

// TestEnvironment proves that every flag can be set as USHER_…, that arguments
// prevail, and that a bad value is blamed on its variable.
func TestEnvironment(t *testing.T) {
	t.Setenv("USHER_MAX_CONNS", "7")
	t.Setenv("USHER_NODE", "from-env")
	f := newFlags("test")
	conns := f.Int("max-conns", 1, "")
	node := f.String("node", "n1", "")
	if err := parse(f, []string{"--node", "from-args"}, "", nil); err != nil || *conns != 7 || *node != "from-args" {
		t.Errorf("conns %d, node %q, error %v", *conns, *node, err)
	}
	t.Setenv("USHER_MAX_CONNS", "seven")
	f = newFlags("test")
	f.Int("max-conns", 1, "")
	var usage usageError
	if err := parse(f, nil, "", nil); !errors.As(err, &usage) || !strings.Contains(err.Error(), "USHER_MAX_CONNS") {
		t.Errorf("a bad value in the environment: %v", err)
	}
	// Help must be there for somebody with a broken environment.
	var out bytes.Buffer
	if err := parse(f, []string{"-h"}, "about", &out); !errors.Is(err, flag.ErrHelp) || !strings.Contains(out.String(), "about") {
		t.Errorf("help with a broken environment: %v, %q", err, out.String())
	}
}

// TestListFlag proves that values add up, and that those given later take the place
// of the default and of the environment's.
func TestListFlag(t *testing.T) {
	t.Setenv("USHER_JOIN", "a,b")
	for _, c := range []struct {
		args []string
		want string
	}{
		{nil, "a,b"},
		{[]string{"--join", "c, d", "--join", "e"}, "c,d,e"},
	} {
		l := listFlag{values: []string{"default"}}
		f := newFlags("test")
		f.Var(&l, "join", "")
		if err := parse(f, c.args, "", nil); err != nil || l.String() != c.want {
			t.Errorf("%v: %v, %v; want %s", c.args, l.values, err, c.want)
		}
	}
}

// lineWriter hands each line that is written to a channel.
type lineWriter struct{ lines chan string }

func (w lineWriter) Write(p []byte) (int, error) {
	w.lines <- strings.TrimSpace(string(p))
	return len(p), nil
}

// TestServe proves that a node starts in an empty directory with flags that say
// no more than where, tells its addresses, stops in good order when told to, and
// starts again on what it left.
func TestServe(t *testing.T) {
	dir := t.TempDir()
	for range 2 {
		ctx, stop := context.WithCancel(t.Context())
		out := lineWriter{make(chan string, 4)}
		done := make(chan error, 1)
		go func() {
			done <- run(ctx, []string{"serve", "--data", dir, "--listen", "127.0.0.1:0", "--http", "127.0.0.1:0", "--admin", "off", "--peer", "127.0.0.1:0", "--bootstrap"}, out, &bytes.Buffer{})
		}()
		select {
		case line := <-out.lines:
			if !strings.Contains(line, "usher serves") || !strings.Contains(line, "binary protocol on 127.0.0.1:") || !strings.Contains(line, "admin on off") || !strings.Contains(line, "peers on 127.0.0.1:") {
				t.Errorf("the node says %q", line)
			}
		case err := <-done:
			t.Fatalf("the node ended: %v", err)
		}
		stop()
		if err := <-done; err != nil {
			t.Fatalf("the node did not stop in good order: %v", err)
		}
	}
}
