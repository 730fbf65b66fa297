package raftlog

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
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
type syncedFS struct {
	vfs.FS
	note vfs.File

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
func openSyncedFS(fs vfs.FS, dir, note string) (*syncedFS, error) {
	s := &syncedFS{FS: fs}
	if err := s.load(note); err != nil {
		return nil, fmt.Errorf("reading %s: %w", note, err)
	}
	for kind, mark := range s.marks {
		if err := s.check(dir, fileKind(kind), mark); err != nil {
			return nil, err
		}
	}
	f, err := fs.OpenReadWrite(note, vfs.WriteCategoryUnspecified)
	if err != nil {
		return nil, err
	}
	s.note = f
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
func (s *syncedFS) check(dir string, kind fileKind, mark syncMark) error {
	if mark.synced == 0 {
		return nil
	}
	names, err := s.FS.List(dir)
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
			path := s.FS.PathJoin(dir, name)
			at, err := checkChunks(s.FS, path, uint32(num), mark.synced)
			if err != nil {
				return fmt.Errorf("%s is damaged at byte %d, of %d that the disk had confirmed: %w; %s",
					path, at, mark.synced, err, startOver(s.FS.PathDir(dir)))
			}
			return nil
		}
	}
	// A WAL's name is durable before anything is written to it, a manifest's only
	// after it was synced.
	if kind == walFile && !newer {
		return fmt.Errorf("%s has lost its newest log file, number %d; %s", dir, mark.num, startOver(s.FS.PathDir(dir)))
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
	b := make([]byte, 0, 40)
	for _, m := range s.marks {
		b = binary.LittleEndian.AppendUint64(b, m.num)
		b = binary.LittleEndian.AppendUint64(b, m.synced)
	}
	_, err := s.note.WriteAt(seal(b), 0)
	return err
}

func (s *syncedFS) close() error { return s.note.Close() }

// Create implements vfs.FS.
func (s *syncedFS) Create(name string, c vfs.DiskWriteCategory) (vfs.File, error) {
	f, err := s.FS.Create(name, c)
	return s.watch(f, name), err
}

// ReuseForWrite implements vfs.FS. Pebble overwrites old WALs from the start.
func (s *syncedFS) ReuseForWrite(old, name string, c vfs.DiskWriteCategory) (vfs.File, error) {
	f, err := s.FS.ReuseForWrite(old, name, c)
	return s.watch(f, name), err
}

// Unwrap implements vfs.FS.
func (s *syncedFS) Unwrap() vfs.FS { return s.FS }

func (s *syncedFS) watch(f vfs.File, name string) vfs.File {
	kind, num, ok := fileKindOf(s.FS.PathBase(name))
	if f == nil || !ok {
		return f
	}
	return &syncedFile{File: f, fs: s, kind: kind, num: num}
}

// A syncedFile counts what is written to it, from the beginning on. Like any
// vfs.File it is written and synced by one goroutine at a time.
type syncedFile struct {
	vfs.File
	fs      *syncedFS
	kind    fileKind
	num     uint64
	written uint64
}

func (f *syncedFile) Write(p []byte) (int, error) {
	n, err := f.File.Write(p)
	f.written += uint64(n)
	return n, err
}

func (f *syncedFile) Sync() error {
	if err := f.File.Sync(); err != nil {
		return err
	}
	return f.fs.synced(f.kind, f.num, f.written)
}

func (f *syncedFile) SyncData() error {
	if err := f.File.SyncData(); err != nil {
		return err
	}
	return f.fs.synced(f.kind, f.num, f.written)
}

// The format of Pebble's record files, as of pebbleFormat: blocks of 32 KiB with
// chunks of a header and a payload; what is left of a block that no header fits
// in is zero.
const (
	chunkBlock   = 32 << 10
	plainHeader  = 7  // checksum u32, length u16, type u8
	numHeader    = 11 // and the low half of the file's number
	syncHeader   = 19 // and the synced offset
	chunkPlain   = 1  // types 1-4: plainHeader
	chunkNum     = 5  // types 5-8: numHeader
	chunkSync    = 9  // types 9-12: syncHeader
	chunkEnd     = 13
	chunkCRCPlus = 0xa282ead8
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// errChunk is a chunk that is not what was written.
var errChunk = errors.New("bad chunk")

// checkChunks makes sure that a file consists of valid chunks up to the offset
// upTo. If not, at is where the first bad one begins.
func checkChunks(fs vfs.FS, path string, num uint32, upTo uint64) (at uint64, err error) {
	f, err := fs.Open(path, vfs.SequentialReadsOption)
	if err != nil {
		return 0, err
	}
	defer f.Close()
	block := make([]byte, chunkBlock)
	for base := uint64(0); base < upTo; base += chunkBlock {
		n, err := io.ReadFull(f, block[:min(chunkBlock, upTo-base)])
		if err != nil {
			return base + uint64(n), fmt.Errorf("the file ends: %w", err)
		}
		at, end, err := checkBlock(block[:n], num)
		if err != nil || end {
			return base + uint64(at), err
		}
	}
	return upTo, nil
}

// checkBlock walks the chunks of a block, or of what was synced of it. end says
// that the file was closed here.
func checkBlock(b []byte, num uint32) (at int, end bool, err error) {
	for at < len(b) {
		rest := b[at:]
		header := 0
		if len(rest) >= plainHeader {
			switch typ := rest[6]; {
			case typ >= chunkPlain && typ < chunkNum:
				header = plainHeader
			case typ >= chunkNum && typ < chunkSync:
				header = numHeader
			case typ >= chunkSync && typ < chunkEnd:
				header = syncHeader
			}
		}
		if header == 0 && chunkBlock-at < syncHeader && allZero(rest) {
			return at, false, nil
		}
		if header == 0 || len(rest) < header {
			return at, false, errChunk
		}
		sum := binary.LittleEndian.Uint32(rest)
		length := int(binary.LittleEndian.Uint16(rest[4:]))
		if header != plainHeader {
			switch binary.LittleEndian.Uint32(rest[7:]) {
			case num:
			case num + 1:
				if sum == 0 && length == 0 {
					return at, true, nil
				}
				return at, false, errChunk
			default:
				return at, false, errChunk
			}
		}
		if header+length > len(rest) {
			return at, false, errChunk
		}
		c := crc32.Checksum(rest[6:header+length], castagnoli)
		if (c>>15|c<<17)+chunkCRCPlus != sum {
			return at, false, errChunk
		}
		at += header + length
	}
	return at, false, nil
}

func allZero(b []byte) bool {
	for _, c := range b {
		if c != 0 {
			return false
		}
	}
	return true
}
