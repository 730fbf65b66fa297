package soak

import (
	"bufio"
	"encoding/hex"
	"fmt"
	"io"
	"os"
	"strconv"
	"strings"
)

// A call is a system call in a trace. Immutable.
type call struct {
	name       string
	path       string // what its file descriptor is: a path, or socket:[…]
	data       []byte // what was read or written, as far as the trace has it
	args       string // behind the data
	ret        int
	begin, end int // lines of the trace: calls of other threads may lie between
}

// sync reports whether all written to the file before the call is on the disk.
func (c *call) sync() bool { return (c.name == "fsync" || c.name == "fdatasync") && c.ret == 0 }

func (c *call) write() bool {
	return strings.HasPrefix(c.name, "write") || strings.HasPrefix(c.name, "pwrite")
}

// readTrace reads what strace -f -y -xx wrote of process pid: calls in the order
// of their ends, and whether the process has ended.
func readTrace(path string, pid int) (calls []call, ended bool, err error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, false, err
	}
	defer f.Close()
	begun := make(map[string]call) // by thread: calls that have not returned
	heads := make(map[string]string)
	lines := bufio.NewReader(f)
	for number := 0; ; number++ {
		line, err := lines.ReadString('\n')
		if err == io.EOF {
			return calls, ended, nil
		}
		if err != nil {
			return nil, false, err
		}
		thread, text, _ := strings.Cut(strings.TrimSpace(line), " ")
		text = strings.TrimSpace(text)
		if strings.HasPrefix(text, "+++ ") {
			ended = ended || thread == strconv.Itoa(pid) // its first thread is the last to go
			continue
		}
		if strings.HasPrefix(text, "--- ") {
			continue
		}
		if head, ok := strings.CutSuffix(text, "<unfinished ...>"); ok {
			heads[thread], begun[thread] = strings.TrimSpace(head), call{begin: number}
			continue
		}
		c := call{begin: number}
		if tail, ok := strings.CutPrefix(text, "<... "); ok {
			_, rest, _ := strings.Cut(tail, " resumed>")
			c, text = begun[thread], heads[thread]+rest
		}
		c.end = number
		if err := c.parse(text); err != nil {
			return nil, false, fmt.Errorf("line %d of %s: %w", number+1, path, err)
		}
		calls = append(calls, c)
	}
}

// parse takes a finished call apart: name(fd<path>, "data"..., more) = ret.
func (c *call) parse(text string) error {
	name, rest, ok := strings.Cut(text, "(")
	i := strings.LastIndex(rest, ") ")
	if !ok || i < 0 {
		return fmt.Errorf("no system call: %.80q", text)
	}
	args, result := rest[:i], strings.TrimSpace(strings.TrimLeft(rest[i+2:], " "))
	c.name = name
	word, _, _ := strings.Cut(strings.TrimPrefix(result, "= "), " ")
	var err error
	if c.ret, err = strconv.Atoi(word); err != nil {
		c.ret = -1 // "?": the process ended in it
	}
	if _, after, ok := strings.Cut(args, "<"); ok {
		path, more, _ := strings.Cut(after, ">")
		b, err := unhex(path)
		if err != nil {
			return err
		}
		c.path, args = string(b), more
	}
	c.args = args
	if _, after, ok := strings.Cut(args, `"`); ok {
		data, more, _ := strings.Cut(after, `"`)
		if c.data, err = unhex(data); err != nil {
			return err
		}
		c.args = more
	}
	return nil
}

// unhex reads \x2f\x74… . Some paths, such as socket:[1], stand as they are.
func unhex(s string) ([]byte, error) {
	if !strings.HasPrefix(s, `\x`) {
		return []byte(s), nil
	}
	return hex.DecodeString(strings.ReplaceAll(s, `\x`, ""))
}
