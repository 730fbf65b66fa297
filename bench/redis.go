package bench

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"strconv"
	"syscall"
	"time"
)

// A redis is a Redis server that a run starts for itself, in memory only, to
// compare with. It belongs to the run.
type redis struct {
	addr string
	dir  string
	cmd  *exec.Cmd
}

// errNoRedis says that there is nothing to compare with on this machine.
var errNoRedis = errors.New("redis-server is not installed, so there is nothing to compare with; on Debian: apt-get install redis-server")

const redisPatience = 10 * time.Second // for its start

// startRedis runs redis-server on a free port of loopback.
func startRedis(ctx context.Context) (*redis, error) {
	program, err := exec.LookPath("redis-server")
	if err != nil {
		return nil, errNoRedis
	}
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, fmt.Errorf("find a free port for redis-server: %w", err)
	}
	r := &redis{addr: ln.Addr().String()}
	if err := ln.Close(); err != nil {
		return nil, err
	}
	_, port, err := net.SplitHostPort(r.addr)
	if err != nil {
		return nil, err
	}
	if r.dir, err = os.MkdirTemp("", "usher-redis-"); err != nil {
		return nil, fmt.Errorf("make a directory for redis-server: %w", err)
	}
	r.cmd = exec.CommandContext(ctx, program, "--bind", "127.0.0.1", "--port", port, "--dir", r.dir,
		"--save", "", "--appendonly", "no", "--daemonize", "no", "--loglevel", "warning")
	// If this program is killed, Redis does not stay behind.
	r.cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if err := r.cmd.Start(); err != nil {
		_ = os.RemoveAll(r.dir) // the error that matters is the other
		return nil, fmt.Errorf("start redis-server: %w", err)
	}
	if err := r.awaitReady(ctx); err != nil {
		r.stop()
		return nil, fmt.Errorf("redis-server did not start: %w", err)
	}
	return r, nil
}

func (r *redis) stop() {
	_ = r.cmd.Process.Kill() // it may be gone already
	_ = r.cmd.Wait()         // was killed, which is no news
	_ = os.RemoveAll(r.dir)  // a directory that stays behind is only untidy
}

func (r *redis) awaitReady(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, redisPatience)
	defer cancel()
	for {
		reply, err := r.do(ctx, []byte("PING"))
		if err == nil && reply == "+PONG" {
			return nil
		}
		select {
		case <-ctx.Done():
			return errors.Join(err, ctx.Err())
		case <-time.After(20 * time.Millisecond):
		}
	}
}

// do sends one command on a connection of its own and returns the first line of
// the reply.
func (r *redis) do(ctx context.Context, words ...[]byte) (string, error) {
	var d net.Dialer
	nc, err := d.DialContext(ctx, "tcp", r.addr)
	if err != nil {
		return "", err
	}
	defer nc.Close()
	if err := nc.SetDeadline(time.Now().Add(redisPatience)); err != nil {
		return "", err
	}
	if _, err := nc.Write(redisCommand(words...)); err != nil {
		return "", err
	}
	line, err := readLine(bufio.NewReader(nc))
	return string(line), err
}

// keep stores a value under a key.
func (r *redis) keep(ctx context.Context, key string, value []byte) error {
	switch reply, err := r.do(ctx, []byte("SET"), []byte(key), value); {
	case err != nil:
		return fmt.Errorf("redis SET: %w", err)
	case reply != "+OK":
		return fmt.Errorf("redis SET: %s", reply)
	}
	return nil
}

// getRange is the question for all bytes of a value.
func (r *redis) getRange(key string, value []byte) *question {
	return &question{
		name: "redis GETRANGE", addr: r.addr, answer: readBulk, want: value,
		request: redisCommand([]byte("GETRANGE"), []byte(key), []byte("0"), []byte("-1")),
	}
}

// redisCommand is a command in RESP, the protocol of Redis.
func redisCommand(words ...[]byte) []byte {
	b := fmt.Appendf(nil, "*%d\r\n", len(words))
	for _, w := range words {
		b = fmt.Appendf(b, "$%d\r\n%s\r\n", len(w), w)
	}
	return b
}

// readBulk reads a bulk string of RESP.
func readBulk(in *bufio.Reader, body []byte) (int, error) {
	line, err := readLine(in)
	if err != nil {
		return 0, err
	}
	if len(line) == 0 || line[0] != '$' {
		return 0, fmt.Errorf("not a bulk string: %q", line)
	}
	n, err := strconv.Atoi(string(line[1:]))
	if err != nil || n < 0 {
		return 0, fmt.Errorf("not a bulk string: %q", line)
	}
	if err := readBody(in, body, n); err != nil {
		return 0, err
	}
	_, err = in.Discard(len("\r\n"))
	return n, err
}

// readBody reads n bytes into body, or skips them if it is nil.
func readBody(in *bufio.Reader, body []byte, n int) error {
	if body == nil {
		_, err := in.Discard(n)
		return err
	}
	if n != len(body) {
		return fmt.Errorf("%d bytes, want %d", n, len(body))
	}
	_, err := io.ReadFull(in, body)
	return err
}

// readLine reads a line without its end. It is valid until the next read.
func readLine(in *bufio.Reader) ([]byte, error) {
	line, err := in.ReadSlice('\n')
	if err != nil {
		return nil, err
	}
	line = line[:len(line)-1]
	if n := len(line); n > 0 && line[n-1] == '\r' {
		line = line[:n-1]
	}
	return line, nil
}
