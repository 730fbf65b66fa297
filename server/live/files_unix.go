//go:build unix

package live

import "syscall"

// FileLimit is how many files the process may have open, 0 if that is unknown.
func FileLimit() uint64 {
	var l syscall.Rlimit
	if syscall.Getrlimit(syscall.RLIMIT_NOFILE, &l) != nil {
		return 0
	}
	return uint64(l.Cur)
}
