package raftlog

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"syscall"
	"time"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/vfs"
	raftboltdb "github.com/hashicorp/raft-boltdb/v2"
	"go.etcd.io/bbolt"
	bolterrors "go.etcd.io/bbolt/errors"
)

const (
	// pebbleFormat is pinned: raising it cannot be undone. From WALSyncChunks on
	// Pebble tells some corruption of the newest WAL from a torn tail; syncedFS
	// finds the rest.
	pebbleFormat = pebble.FormatWALSyncChunks

	logMemTable  = 64 << 20
	snapMemTable = 16 << 20
	memTables    = 3 // at most, before writers wait; Pebble keeps one WAL more than that for reuse

	boltFile    = "raft.db"
	boltTimeout = time.Second // for another process to let go of the file
)

// logPebble is tuned for entries that are written once, synced, read seldom and
// deleted in ranges soon after.
func logPebble(memTable uint64) *pebble.Options {
	o := &pebble.Options{
		MemTableSize:                memTable,
		MemTableStopWritesThreshold: memTables,
		// Tables are to live and die in L0, see reclaimer: keys only grow, so there
		// is nothing to merge.
		L0CompactionThreshold:     16,
		L0StopWritesThreshold:     128,
		L0CompactionFileThreshold: 2_000,
	}
	o.TargetFileSizes[0] = int64(memTable) / 8
	return o
}

// snapPebble is tuned for values of some kilobytes that replace one another.
func snapPebble() *pebble.Options {
	return &pebble.Options{
		MemTableSize:                snapMemTable,
		MemTableStopWritesThreshold: memTables,
		// Snapshots are written in the background. Handing them to the disk bit by
		// bit keeps the log's syncs from queueing behind one big write.
		WALBytesPerSync: 512 << 10,
	}
}

// openPebble opens one of the node's two Pebbles under a syncedFS. flushed, if
// not nil, is told of flushes.
func (n *Node) openPebble(name string, o *pebble.Options, flushed chan<- struct{}) (*pebble.DB, *syncedFS, error) {
	dir := n.path(name)
	fs, err := openSyncedFS(n.opts.FS, dir, n.path(name+".synced"), func(what string, err error) {
		n.fail(fmt.Sprintf("%s failed: %v", what, err))
	})
	if err != nil {
		return nil, nil, err
	}
	o.FS = fs
	o.FormatMajorVersion = pebbleFormat
	o.MaxManifestFileSize = 4 << 20
	// Entries are short-lived and parts compressed already.
	o.ApplyCompressionSettings(func() pebble.DBCompressionSettings { return pebble.DBCompressionNone })
	o.Experimental.ReadSamplingMultiplier = -1 // nothing here is read often
	o.Logger = pebbleLogger{n, dir}
	o.EventListener = &pebble.EventListener{
		BackgroundError: func(err error) {
			if !errors.Is(err, pebble.ErrCancelledCompaction) && !errors.Is(err, context.Canceled) {
				n.fail(fmt.Sprintf("writing to %s failed: %v", dir, err))
			}
		},
		FlushEnd: func(pebble.FlushInfo) {
			select {
			case flushed <- struct{}{}:
			default: // it is told already, or nobody listens
			}
		},
		DataCorruption: func(i pebble.DataCorruptionInfo) {
			n.fail(fmt.Sprintf("%s is damaged: %v; %s", dir, i, startOver(n.opts.Dir)))
		},
	}
	var db *pebble.DB
	func() {
		defer func() {
			if r := recover(); r != nil { // for some write errors
				err = fmt.Errorf("%v", r)
			}
		}()
		db, err = pebble.Open(dir, o)
	}()
	switch {
	case errors.Is(err, syscall.EAGAIN) || errors.Is(err, syscall.EACCES):
		err = fmt.Errorf("another process uses %s: %w", n.opts.Dir, err)
	case pebble.IsCorruptionError(err):
		err = fmt.Errorf("%s is damaged: %w; %s", dir, err, startOver(n.opts.Dir))
	case err != nil:
		err = fmt.Errorf("opening %s: %w", dir, err)
	}
	if err != nil {
		return nil, nil, errors.Join(err, fs.close())
	}
	return db, fs, nil
}

// startOver is the advice for a node whose data cannot be trusted.
func startOver(dir string) string {
	return fmt.Sprintf("restore all of %s from one backup, or empty it and let the node join again under a new name", dir)
}

// pebbleLogger hands on what Pebble says. Its Fatalf, called for errors on
// commit and in the manifest, ends the process.
type pebbleLogger struct {
	n   *Node
	dir string
}

func (l pebbleLogger) Infof(string, ...any) {}

func (l pebbleLogger) Errorf(format string, args ...any) {
	l.n.opts.Log.Error(fmt.Sprintf(format, args...), slog.String("dir", l.dir))
}

func (l pebbleLogger) Fatalf(format string, args ...any) {
	l.n.fail(fmt.Sprintf("writing to %s failed: %s", l.dir, fmt.Sprintf(format, args...)))
}

// openBolt opens the file with terms and votes. It is always on the operating
// system's file system: bolt maps it into memory.
func (n *Node) openBolt() error {
	if err := os.MkdirAll(n.opts.Dir, 0o700); err != nil {
		return err
	}
	path := n.path(boltFile)
	bolt, err := raftboltdb.New(raftboltdb.Options{
		Path: path,
		BoltOptions: &bbolt.Options{
			Timeout:        boltTimeout,
			NoFreelistSync: true,
			FreelistType:   bbolt.FreelistMapType,
		},
	})
	if errors.Is(err, bolterrors.ErrTimeout) {
		return fmt.Errorf("another process uses %s", n.opts.Dir)
	}
	if err != nil {
		return fmt.Errorf("opening %s: %w; if the file is damaged, %s", path, err, startOver(n.opts.Dir))
	}
	n.bolt = bolt
	// Bolt syncs its file, but not the directory that a new one is in.
	return syncDir(vfs.Default, n.opts.Dir)
}

// makeDir makes dir and whatever is missing above it, durably.
func makeDir(fs vfs.FS, dir string) error {
	if _, err := fs.Stat(dir); err == nil {
		return nil
	}
	parent := filepath.Dir(dir)
	if parent != dir {
		if err := makeDir(fs, parent); err != nil {
			return err
		}
	}
	if err := fs.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	return syncDir(fs, parent)
}

// syncDir makes the names in dir durable.
func syncDir(fs vfs.FS, dir string) error {
	d, err := fs.OpenDir(dir)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}
