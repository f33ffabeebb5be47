package kv

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"

	"github.com/dgraph-io/badger/v4"
)

// Open opens or creates the database in opts.Dir and starts its committer.
//
// When it returns, everything it recovered is in synced files, also what was
// never answered. Errors: ErrLocked after opts.LockWait, ErrFormat, ErrDamaged.
// ctx bounds the wait for the lock and the recovery.
func Open(ctx context.Context, opts Options) (*DB, error) {
	opts = opts.withDefaults()
	if err := opts.validate(); err != nil {
		return nil, fmt.Errorf("open database: %w", err)
	}
	db, err := open(ctx, opts)
	if err != nil {
		return nil, fmt.Errorf("open database in %s: %w", opts.Dir, err)
	}
	return db, nil
}

func open(ctx context.Context, opts Options) (*DB, error) {
	warnFilesystem(opts)
	dir, err := openDirectory(ctx, opts)
	if err != nil {
		return nil, err
	}
	db := newDB(opts, dir)
	if err := db.start(ctx); err != nil {
		return nil, errors.Join(err, dir.close())
	}
	return db, nil
}

func openDirectory(ctx context.Context, opts Options) (*directory, error) {
	if err := makeDir(opts.Dir); err != nil {
		return nil, fmt.Errorf("create directory: %w", err)
	}
	lock, err := lockDir(ctx, opts.Dir, opts.LockWait)
	if err != nil {
		return nil, err
	}
	file, err := os.Open(opts.Dir)
	if err != nil {
		return nil, errors.Join(err, lock.Close())
	}
	return &directory{path: opts.Dir, file: file, lock: lock}, nil
}

// start prepares the directory, opens Badger and starts the committer.
func (db *DB) start(ctx context.Context) error {
	unclean, err := db.prepare(ctx)
	if err != nil {
		return err
	}
	log := &badgerLog{log: db.log, fail: db.fence}
	if db.badger, err = openBadger(db.opts.badgerOptions(log), db.dir); err != nil {
		return err
	}
	if err := db.settle(); err != nil {
		return err // a failed sync: Badger is left alone, still locked
	}
	db.stats.Unclean = unclean
	db.keeper = newKeeper(db.dir, db.fence)
	go db.keeper.run(db.failed)
	go db.run()
	return nil
}

// settle makes what Open itself created durable and private.
func (db *DB) settle() error {
	if err := db.dir.restrict(); err != nil {
		db.log.Warn("cannot make the database's files private", "dir", db.dir.path, "error", err)
	}
	if err := db.dir.syncIfChanged(); err != nil {
		return err
	}
	if err := db.openEpoch(); err != nil {
		return err
	}
	return db.Err()
}

// openEpoch notes how far the database has come, in a write whose sync is seen
// to succeed: what the head said before may be in the page cache only.
func (db *DB) openEpoch() error {
	next := db.dir.head.head
	next.epoch++
	reached := db.badger.MaxVersion()
	if reached < next.highWater {
		return fmt.Errorf("%w: it ends at commit %d and had come to %d", ErrDamaged, reached, next.highWater)
	}
	next.highWater = reached
	return db.dir.head.write(next)
}

func warnFilesystem(opts Options) {
	name, durable, err := Filesystem(opts.Dir)
	if err != nil {
		opts.Logger.Warn("cannot tell the file system", "dir", opts.Dir, "error", err)
	} else if !durable {
		opts.Logger.Warn("durability is not proven on this file system; use ext4 or XFS",
			"dir", opts.Dir, "filesystem", name)
	}
}

// openAttempts bounds how often a file that a power loss left empty may make
// Badger's Open fail: each failure sizes one of them (badger#2207).
const openAttempts = 5

func openBadger(opts badger.Options, dir *directory) (db *badger.DB, err error) {
	for range openAttempts {
		db, err = openOnce(opts)
		if err == nil || !strings.Contains(err.Error(), "Create a new file") {
			break
		}
		if err := dir.removeEmpty(); err != nil {
			return nil, err
		}
	}
	if err != nil && strings.Contains(err.Error(), "Cannot acquire directory lock") {
		return nil, fmt.Errorf("%w: %w", ErrLocked, err)
	}
	return db, err
}

// openOnce contains the panics with which Badger meets a damaged table
// (a footer: slice bounds out of range).
func openOnce(opts badger.Options) (db *badger.DB, err error) {
	defer func() {
		if p := recover(); p != nil {
			db, err = nil, fmt.Errorf("%w: badger panicked: %v", ErrDamaged, p)
		}
	}()
	db, err = badger.Open(opts)
	if err != nil {
		return nil, fmt.Errorf("open badger: %w", err)
	}
	return db, nil
}
