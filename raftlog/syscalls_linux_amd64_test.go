package raftlog

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"testing"
)

// tracedDir, in the environment, makes TestSyncsReachTheKernel the process that
// is traced, and says where its node is to be.
const tracedDir = "RAFTLOG_TRACED_DIR"

// What the traced process does is marked in its system calls: it closes file
// descriptors that nobody has.
const (
	markBegin = 1 << 28
	markEnd   = 1 << 29
)

var tracedOps = []struct{ what, file string }{
	{"a new term", "/" + boltFile},
	{"a vote", "/" + boltFile},
	{"entries", ".log"},
	{"replaced entries", ".log"},
	{"a snapshot", ".log"},
	{"a vote that the log's end comes with", "/" + boltFile},
}

// tracedLife does each of tracedOps, between its marks.
func tracedLife(t *testing.T, dir string) {
	n := mustOpen(t, Options{Dir: dir, NodeID: "n1", Log: quiet()})
	logs, stable, snaps, err := n.openGroupStores(1)
	if err != nil {
		t.Fatal(err)
	}
	s := newTestState()
	s.at = 3
	s.set(1, make([]byte, 5_000))
	k, err := create(snaps, s.at, s.term)
	if err != nil {
		t.Fatal(err)
	}
	for i, op := range []func() error{
		func() error { return stable.SetUint64([]byte(keyCurrentTerm), 2) },
		func() error { return castVote(stable, 2, "n1", 3) },
		func() error { return logs.StoreLogs(testEntries(1, 5, 1, 40_000)) },
		func() error { return errors.Join(logs.DeleteRange(4, 5), logs.StoreLogs(testEntries(4, 4, 2, 10))) },
		func() error { return errors.Join(k.writeParts(s), k.Close()) },
		func() error { return castVote(stable, 3, "n2", 3) },
	} {
		syscall.RawSyscall(syscall.SYS_CLOSE, uintptr(markBegin+i), 0, 0)
		err := op()
		syscall.RawSyscall(syscall.SYS_CLOSE, uintptr(markEnd+i), 0, 0)
		if err != nil {
			t.Fatal(err)
		}
	}
	mustClose(t, n)
}

// TestSyncsReachTheKernel traces the system calls of a process with a node on a
// real file system: before a term, a vote, entries or a snapshot are
// acknowledged, what was written to the file has been synced, successfully.
// Of votes this is the proof: bolt's file cannot be wrapped.
func TestSyncsReachTheKernel(t *testing.T) {
	if dir := os.Getenv(tracedDir); dir != "" {
		tracedLife(t, dir)
		return
	}
	dir := filepath.Join(t.TempDir(), "node")
	lines, output := traceSyscalls(t, t.Name(), dir)
	for i, op := range tracedOps {
		tr := &trace{lines: lines}
		if err := tr.syncedBetween(fmt.Sprint("begin ", i), fmt.Sprint("end ", i), op.file); err != nil {
			t.Errorf("%s: %v\n%s", op.what, err, output)
		}
	}
}

// traceSyscalls runs a test of this binary under ptrace and returns its marks,
// writes and successful syncs in the order of a trace.
func traceSyscalls(t *testing.T, test, dir string) (lines []string, output []byte) {
	// All of ptrace must come from the thread that starts the process.
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	out, err := os.Create(filepath.Join(t.TempDir(), "output"))
	if err != nil {
		t.Fatal(err)
	}
	defer out.Close()
	pid, err := syscall.ForkExec(os.Args[0], []string{os.Args[0], "-test.run=^" + test + "$"}, &syscall.ProcAttr{
		Env:   append(os.Environ(), tracedDir+"="+dir),
		Files: []uintptr{0, out.Fd(), out.Fd()},
		Sys:   &syscall.SysProcAttr{Ptrace: true, Setpgid: true},
	})
	if err != nil {
		t.Fatal(err)
	}
	p := &tracer{pid: pid, inside: make(map[int]syscall.PtraceRegs), known: make(map[int]bool)}
	status, err := p.run()
	if err != nil {
		syscall.Kill(pid, syscall.SIGKILL)
		t.Fatal(err)
	}
	output, _ = os.ReadFile(out.Name())
	if status != 0 {
		t.Fatalf("the traced process ended with %d:\n%s", status, output)
	}
	return p.lines, output
}

// A tracer follows the threads of one process.
type tracer struct {
	pid    int
	inside map[int]syscall.PtraceRegs // threads in a system call, as they entered it
	known  map[int]bool               // threads that have stopped once
	lines  []string
}

func (p *tracer) run() (status int, err error) {
	const (
		traceGood = 0x80     // marks stops at system calls
		exitKill  = 0x100000 // the process ends with its tracer
	)
	for {
		var ws syscall.WaitStatus
		tid, err := syscall.Wait4(-p.pid, &ws, syscall.WALL, nil)
		if err == syscall.EINTR {
			continue
		}
		if err != nil {
			return 0, fmt.Errorf("wait: %w", err)
		}
		if !ws.Stopped() {
			if tid == p.pid {
				return ws.ExitStatus(), nil
			}
			continue
		}
		deliver := 0
		switch sig := ws.StopSignal(); {
		case !p.known[tid]:
			p.known[tid] = true
			if tid == p.pid {
				err = syscall.PtraceSetOptions(tid, syscall.PTRACE_O_TRACESYSGOOD|syscall.PTRACE_O_TRACECLONE|exitKill)
			}
		case sig == syscall.SIGTRAP|traceGood:
			err = p.stop(tid)
		case sig != syscall.SIGTRAP:
			deliver = int(sig)
		}
		if err == nil {
			err = syscall.PtraceSyscall(tid, deliver)
		}
		if err != nil && err != syscall.ESRCH {
			return 0, fmt.Errorf("ptrace: %w", err)
		}
	}
}

// stop is a thread's entry into a system call, or its return from it.
func (p *tracer) stop(tid int) error {
	var regs syscall.PtraceRegs
	if err := syscall.PtraceGetRegs(tid, &regs); err != nil {
		return err
	}
	entry, inside := p.inside[tid]
	if !inside {
		p.inside[tid] = regs
		return nil
	}
	delete(p.inside, tid)
	ok := int64(regs.Rax) >= 0
	switch fd := entry.Rdi; entry.Orig_rax {
	case syscall.SYS_CLOSE:
		if fd >= markEnd {
			p.lines = append(p.lines, fmt.Sprint("end ", fd-markEnd))
		} else if fd >= markBegin {
			p.lines = append(p.lines, fmt.Sprint("begin ", fd-markBegin))
		}
	case syscall.SYS_WRITE, syscall.SYS_PWRITE64:
		p.lines = append(p.lines, "write "+p.file(fd))
	case syscall.SYS_FSYNC, syscall.SYS_FDATASYNC:
		if ok {
			p.lines = append(p.lines, "synced "+p.file(fd))
		}
	}
	return nil
}

func (p *tracer) file(fd uint64) string {
	name, err := os.Readlink(fmt.Sprintf("/proc/%d/fd/%d", p.pid, fd))
	if err != nil {
		return "?"
	}
	return strings.TrimSuffix(name, " (deleted)")
}
