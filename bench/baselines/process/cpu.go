package process

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"time"
)

// tick is the unit of /proc's processor times on every Linux there is.
const tick = time.Second / 100

// CPU is the processor time that processes and their children, those that have
// ended too, have used so far, as /proc says.
func CPU(processes ...*Process) (time.Duration, error) {
	files, err := filepath.Glob("/proc/[0-9]*/stat")
	if err != nil {
		return 0, err
	}
	mine := make(map[int64]bool)
	for _, p := range processes {
		mine[int64(p.cmd.Process.Pid)] = true
	}
	var total time.Duration
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			continue // it has ended since
		}
		s, err := parseStat(text)
		if err != nil {
			return 0, fmt.Errorf("%s: %w", file, err)
		}
		switch {
		case mine[s.pid]:
			total += time.Duration(s.own+s.ended) * tick
		case mine[s.parent]:
			total += time.Duration(s.own) * tick
		}
	}
	return total, nil
}

// A stat is what we want of a process's stat, times in ticks.
type stat struct {
	pid, parent int64
	own, ended  int64 // processor time; of children that it has waited for
}

// parseStat reads a line as in proc(5): the second field is a name between
// brackets, in which anything may be.
func parseStat(text []byte) (stat, error) {
	var s stat
	open, end := bytes.IndexByte(text, '('), bytes.LastIndexByte(text, ')')
	if open < 0 || end < open {
		return s, fmt.Errorf("cannot read %q", text)
	}
	fields := bytes.Fields(text[end+1:]) // from the third on
	if len(fields) < 15 {
		return s, fmt.Errorf("cannot read %q", text)
	}
	var err error
	number := func(b []byte) int64 {
		n, e := strconv.ParseInt(string(bytes.TrimSpace(b)), 10, 64)
		if e != nil {
			err = e
		}
		return n
	}
	s.pid, s.parent = number(text[:open]), number(fields[1])
	s.own = number(fields[11]) + number(fields[12])
	s.ended = number(fields[13]) + number(fields[14])
	return s, err
}
