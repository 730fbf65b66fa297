package raftlog

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"
	"sync"

	"github.com/cockroachdb/errors/oserror"
	"github.com/cockroachdb/pebble/v2/vfs"
)

// A syncedFS lies between Pebble and the file system. It notes, in a small file
// beside Pebble's directory, how far the newest WAL and the newest manifest have
// been synced, and when the directory is opened again it makes sure that so much
// of them is whole.
//
// Pebble cannot tell by itself. A chunk that does not match its checksum may be
// a write that power loss cut short, or damage to something that was synced, and
// in doubt Pebble takes it for the former and silently drops the rest of the
// file. The offsets that FormatWALSyncChunks adds to chunks decide little: they
// do not count whole blocks (so that behind entries of more than a block they
// stay near zero), and chunks in the same block as the damage are not looked at.
//
// The note is written after each sync and not synced itself: it survives the
// process, and after power loss it may say less than was synced, never more.
//
// It also tells of every write and sync that fails, before Pebble hears of it:
// Pebble has several answers to that, some of them panics and some a retry.
type syncedFS struct {
	vfs.FS
	dir    string
	failed func(what string, err error)
	note   vfs.File

	mu    sync.Mutex
	marks [2]syncMark // by fileKind
}

// A syncMark says that the file with this number was synced up to here.
type syncMark struct{ num, synced uint64 }

type fileKind int

const (
	walFile fileKind = iota
	manifestFile
)

// fileKindOf recognizes the files that Pebble reads up to the first bad chunk.
func fileKindOf(base string) (kind fileKind, num uint64, ok bool) {
	if digits, isWAL := strings.CutSuffix(base, ".log"); isWAL {
		num, err := strconv.ParseUint(digits, 10, 64)
		return walFile, num, err == nil
	}
	if digits, isManifest := strings.CutPrefix(base, "MANIFEST-"); isManifest {
		num, err := strconv.ParseUint(digits, 10, 64)
		return manifestFile, num, err == nil
	}
	return 0, 0, false
}

// openSyncedFS checks the directory against the note, if there is one, and goes
// on with it.
func openSyncedFS(fs vfs.FS, dir, note string, failed func(what string, err error)) (*syncedFS, error) {
	s := &syncedFS{FS: fs, dir: dir, failed: failed}
	if err := s.load(note); err != nil {
		return nil, fmt.Errorf("reading %s: %w", note, err)
	}
	for kind, mark := range s.marks {
		if err := s.check(fileKind(kind), mark); err != nil {
			return nil, err
		}
	}
	f, err := fs.OpenReadWrite(note, vfs.WriteCategoryUnspecified)
	if err != nil {
		return nil, err
	}
	s.note = f
	// Pebble now moves what it finds in the WALs into tables and removes them,
	// before it has a new one. A note about a WAL that is gone for this reason must
	// not come back.
	s.marks = [2]syncMark{}
	if err := errors.Join(s.write(), f.Sync()); err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return s, nil
}

// load reads the note. One that power loss has torn says nothing.
func (s *syncedFS) load(note string) error {
	f, err := s.FS.Open(note)
	if oserror.IsNotExist(err) {
		return nil
	}
	if err != nil {
		return err
	}
	b, err := io.ReadAll(f)
	if err := errors.Join(err, f.Close()); err != nil {
		return err
	}
	if b, ok := unseal(b); ok && len(b) == 32 {
		for i := range s.marks {
			s.marks[i].num = binary.LittleEndian.Uint64(b[16*i:])
			s.marks[i].synced = binary.LittleEndian.Uint64(b[16*i+8:])
		}
	}
	return nil
}

// check makes sure that what was synced of a file is there.
func (s *syncedFS) check(kind fileKind, mark syncMark) error {
	if mark.synced == 0 {
		return nil
	}
	names, err := s.FS.List(s.dir)
	if oserror.IsNotExist(err) {
		return nil // its card will be missing too
	}
	if err != nil {
		return err
	}
	newer := false
	for _, name := range names {
		k, num, ok := fileKindOf(s.FS.PathBase(name))
		if !ok || k != kind {
			continue
		}
		newer = newer || num > mark.num
		if num == mark.num {
			path := s.FS.PathJoin(s.dir, name)
			at, err := checkChunks(s.FS, path, uint32(num), mark.synced)
			if err != nil {
				return fmt.Errorf("%s is damaged at byte %d, of %d that the disk had confirmed: %w; %s",
					path, at, mark.synced, err, startOver(s.FS.PathDir(s.dir)))
			}
			return nil
		}
	}
	// A WAL's name is durable before anything is written to it, a manifest's only
	// after it was synced.
	if kind == walFile && !newer {
		return fmt.Errorf("%s has lost its newest log file, number %d; %s", s.dir, mark.num, startOver(s.FS.PathDir(s.dir)))
	}
	return nil
}

// synced notes that a file was synced up to here.
func (s *syncedFS) synced(kind fileKind, num, upTo uint64) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	m := &s.marks[kind]
	if num < m.num || num == m.num && upTo <= m.synced {
		return nil
	}
	*m = syncMark{num, upTo}
	return s.write()
}

// write writes the note.
func (s *syncedFS) write() error {
	b := make([]byte, 0, 40)
	for _, m := range s.marks {
		b = binary.LittleEndian.AppendUint64(b, m.num)
		b = binary.LittleEndian.AppendUint64(b, m.synced)
	}
	_, err := s.note.WriteAt(seal(b), 0)
	return err
}

func (s *syncedFS) close() error { return s.note.Close() }
