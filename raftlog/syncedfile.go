package raftlog

import (
	"strings"

	"github.com/cockroachdb/pebble/v2/vfs"
)

// told tells of an operation in the directory that failed, and returns its
// error. Copies to elsewhere may fail, and links: Pebble copies then.
func (s *syncedFS) told(what, name string, err error) error {
	if err != nil && s.holds(name) {
		s.failed(what+" "+name, err)
	}
	return err
}

// Create implements vfs.FS.
func (s *syncedFS) Create(name string, c vfs.DiskWriteCategory) (vfs.File, error) {
	f, err := s.FS.Create(name, c)
	return s.watch(f, name, s.told("creating", name, err))
}

// ReuseForWrite implements vfs.FS. Pebble overwrites old WALs from the start.
func (s *syncedFS) ReuseForWrite(old, name string, c vfs.DiskWriteCategory) (vfs.File, error) {
	f, err := s.FS.ReuseForWrite(old, name, c)
	return s.watch(f, name, s.told("reusing", old, err))
}

// OpenReadWrite implements vfs.FS.
func (s *syncedFS) OpenReadWrite(name string, c vfs.DiskWriteCategory, o ...vfs.OpenOption) (vfs.File, error) {
	f, err := s.FS.OpenReadWrite(name, c, o...)
	return s.watch(f, name, s.told("opening", name, err))
}

// OpenDir implements vfs.FS.
func (s *syncedFS) OpenDir(name string) (vfs.File, error) {
	f, err := s.FS.OpenDir(name)
	return s.watch(f, name, err)
}

// Rename implements vfs.FS.
func (s *syncedFS) Rename(old, name string) error {
	return s.told("renaming", old, s.FS.Rename(old, name))
}

func (s *syncedFS) holds(name string) bool { return strings.HasPrefix(name, s.dir) }

// Unwrap implements vfs.FS.
func (s *syncedFS) Unwrap() vfs.FS { return s.FS }

func (s *syncedFS) watch(f vfs.File, name string, err error) (vfs.File, error) {
	if err != nil {
		return nil, err
	}
	kind, num, ok := fileKindOf(s.FS.PathBase(name))
	return &syncedFile{File: f, fs: s, name: name, noted: ok && s.holds(name), kind: kind, num: num}, nil
}

// A syncedFile is a file under a syncedFS. Like any vfs.File it is written and
// synced by one goroutine at a time.
type syncedFile struct {
	vfs.File
	fs   *syncedFS
	name string

	noted   bool // it is of a kind whose syncs are noted
	kind    fileKind
	num     uint64
	written uint64 // bytes, from the beginning on
}

func (f *syncedFile) Write(p []byte) (int, error) {
	n, err := f.File.Write(p)
	f.written += uint64(n)
	return n, f.fs.told("writing", f.name, err)
}

func (f *syncedFile) WriteAt(p []byte, at int64) (int, error) {
	n, err := f.File.WriteAt(p, at)
	return n, f.fs.told("writing", f.name, err)
}

func (f *syncedFile) Sync() error { return f.synced(f.File.Sync()) }

func (f *syncedFile) SyncData() error { return f.synced(f.File.SyncData()) }

func (f *syncedFile) SyncTo(length int64) (bool, error) {
	full, err := f.File.SyncTo(length)
	return full, f.fs.told("syncing", f.name, err)
}

func (f *syncedFile) synced(err error) error {
	if err == nil && f.noted {
		err = f.fs.synced(f.kind, f.num, f.written)
	}
	return f.fs.told("syncing", f.name, err)
}
