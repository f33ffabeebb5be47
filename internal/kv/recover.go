package kv

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"

	"github.com/dgraph-io/badger/v4"
)

// prepare brings the directory into a state from which Badger's Open loses
// nothing, and reports whether the last stop was unclean.
//
// After an unclean stop, what the files show may be only in the page cache: a
// failed sync leaves its pages clean but not on the disk, and Badger keeps
// what it could not sync in its log (db.go writeToLSM puts entries first and
// syncs after). Reading it back proves nothing, so all that is recovered is
// written again into new files whose sync is seen to succeed:
//
//  1. the manifest, to which Badger appends, is copied;
//  2. Badger is opened, which replays each WAL (memtable.go openMemTables),
//     and closed, which writes each as a new table: msync of the table
//     (table/table.go:258), then fsync of the manifest (manifest.go
//     addChanges), then removal of the WAL. Older tables had theirs before
//     they were named in the manifest.
//
// A crash in between leaves the directory unclean, and all of this is repeated.
func (db *DB) prepare(ctx context.Context, deep bool) (unclean bool, err error) {
	exists, err := db.dir.checkManifest(db.opts.Magic)
	if err != nil {
		return false, err
	}
	clean, err := db.dir.takeClean()
	if err != nil {
		return false, fmt.Errorf("take clean-stop marker: %w", err)
	}
	if err := db.dir.removeEmpty(); err != nil {
		return false, err
	}
	if !exists {
		return false, db.beginHead()
	}
	if !clean {
		if err := db.dir.rewriteManifest(db.log, deep); err != nil {
			return true, fmt.Errorf("rewrite after an unclean stop: %w", err)
		}
	}
	if err := db.dir.raiseLayout(db.opts.Magic); err != nil {
		return !clean, fmt.Errorf("raise the layout: %w", err)
	}
	if err := db.inspect(deep); err != nil || clean || !rewriteRecovered {
		return !clean, err
	}
	db.log.Info("database was not closed cleanly: rewriting what it recovers", "dir", db.dir.path)
	if err := db.rewrite(ctx); err != nil {
		return true, fmt.Errorf("rewrite after an unclean stop: %w", err)
	}
	return true, db.dir.forgetFence()
}

// inspect refuses what Badger would take for an earlier, shorter state.
func (db *DB) inspect(deep bool) error {
	found, err := db.dir.inspect(deep, db.opts.Magic)
	if err != nil {
		return err
	}
	if err := found.damaged(); err != nil {
		return err
	}
	if err := db.dir.removeFlushed(found); err != nil {
		return err
	}
	db.sealed = found.sealed
	db.inventory.know(found.ranges)
	db.dir.head, err = db.dir.openHead(found.head)
	return err
}

// removeFlushed removes the logs that are in tables. Badger keeps such a log as
// long as a reader or a compaction that is not judged has its memtable; replayed,
// it would bring back what was deleted since, if a compaction has dropped the
// deletion.
func (d *directory) removeFlushed(found *inspection) error {
	for _, log := range found.logs {
		if !found.inTables(log) {
			continue
		}
		if err := os.Remove(filepath.Join(d.path, log.name)); err != nil {
			return fmt.Errorf("remove a log that is in a table: %w", err)
		}
	}
	return nil
}

// beginHead makes the head of a new database, before there is anything that
// would be missed without it.
func (db *DB) beginHead() error {
	h, _, ok, err := db.dir.readHead()
	if err != nil {
		return err
	}
	if ok && h.highWater > 0 {
		return fmt.Errorf("%w: it had come to commit %d, and has no %s", ErrDamaged, h.highWater, badger.ManifestFilename)
	}
	db.sealed = newSeals()
	db.dir.head, err = db.dir.createHead(head{secret: db.sealed.secret, magic: formatOf(db.opts.Magic)})
	return err
}

// removeEmpty removes logs that a power loss left without content, which make
// Badger's Open fail (badger#2207). Nothing acknowledged can be in them. It
// syncs the directory in any case.
func (d *directory) removeEmpty() error {
	names, err := d.names(".mem", ".vlog")
	if err != nil {
		return err
	}
	for _, name := range names {
		path := filepath.Join(d.path, name)
		if st, err := os.Stat(path); err != nil {
			return err
		} else if st.Size() > 0 {
			continue
		}
		if err := os.Remove(path); err != nil {
			return fmt.Errorf("remove empty log: %w", err)
		}
	}
	return d.file.Sync()
}

func (db *DB) rewrite(ctx context.Context) error {
	size, err := db.dir.recoverySize()
	if err != nil {
		return err
	}
	opts := db.opts
	opts.MemTableSize = max(opts.MemTableSize, size)
	fault := newAlarm(db.dir.noteFence)
	recovered, err := openBadger(opts.uncompacted(&badgerLog{log: db.log, fail: fault.raise}), db.dir, fault.raised, fault.cause)
	if err != nil {
		return err
	}
	if err := closeBadger(ctx, recovered.Close, fault.raised, fault.cause); err != nil {
		return err
	}
	return db.dir.nothingLeft()
}

// alarm keeps the first failure that Badger reports while it recovers.
type alarm struct {
	once   sync.Once
	raised chan struct{}
	err    atomic.Pointer[error]
	note   func(error)
}

func newAlarm(note func(error)) *alarm {
	return &alarm{raised: make(chan struct{}), note: note}
}

func (a *alarm) raise(err error) {
	a.once.Do(func() {
		a.err.Store(&err)
		a.note(err)
		close(a.raised)
	})
}

func (a *alarm) cause() error {
	if err := a.err.Load(); err != nil {
		return *err
	}
	return nil
}

// recoverySize is the memtable size that fits the largest WAL present: Badger
// maps twice the memtable size (memtable.go openMemTable) and dies when a WAL
// written with a larger setting does not fit into the memtable.
func (d *directory) recoverySize() (int64, error) {
	names, err := d.names(".mem")
	if err != nil {
		return 0, err
	}
	var largest int64
	for _, name := range names {
		st, err := os.Stat(filepath.Join(d.path, name))
		if err != nil {
			return 0, err
		}
		largest = max(largest, st.Size()/2)
	}
	return largest, nil
}

// nothingLeft proves that each WAL became a table.
func (d *directory) nothingLeft() error {
	names, err := d.names(".mem")
	if err == nil && len(names) > 0 {
		err = fmt.Errorf("%v not rewritten", names)
	}
	return err
}
