package kv

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"

	"github.com/dgraph-io/badger/v4"
	"golang.org/x/sys/unix"
)

// Open opens or creates the database in opts.Dir and starts its committer.
//
// When it returns, everything it recovered is in synced files, also what was
// never answered. Errors: ErrLocked after opts.LockWait, ErrFormat, ErrDamaged,
// ErrStorage.
// ctx bounds the wait for the lock and the recovery.
func Open(ctx context.Context, opts Options) (*DB, error) {
	opts = opts.withDefaults()
	if err := opts.validate(); err != nil {
		return nil, fmt.Errorf("open database: %w", err)
	}
	db, err := open(ctx, opts)
	if err != nil {
		return nil, fmt.Errorf("open database in %s: %w", opts.Dir, StorageError(err))
	}
	return db, nil
}

func open(ctx context.Context, opts Options) (*DB, error) {
	warnFilesystem(opts)
	dir, err := openDirectory(ctx, opts)
	if err != nil {
		return nil, err
	}
	note, err := dir.admit(ctx, opts)
	if err != nil {
		return nil, errors.Join(err, dir.close())
	}
	if err := dir.beforeOpen(ctx, opts.BeforeOpen); err != nil {
		return nil, errors.Join(err, dir.close())
	}
	db := newDB(opts, dir)
	db.admitted = note
	if err := db.start(ctx); err != nil {
		return nil, errors.Join(err, db.dir.close())
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

// beforeOpen lets the owner wait while the directory is locked.
func (d *directory) beforeOpen(ctx context.Context, hook func(context.Context) (bool, error)) error {
	if hook == nil {
		return nil
	}
	starved, err := hook(ctx)
	if err == nil && starved {
		err = errors.Join(d.endStart(), d.forget(runningName))
	}
	return err
}

// start brings Badger up and starts the committer.
func (db *DB) start(ctx context.Context) error {
	if err := db.tidy(); err != nil {
		return fmt.Errorf("tidy up after an interrupted salvage: %w", err)
	}
	died, err := db.dir.beginStart()
	if err != nil {
		return fmt.Errorf("count this start: %w", err)
	}
	unproven, why := db.dir.lastRuns()
	if why != nil {
		db.log.Warn("reading every block of every table", "dir", db.dir.path, "because", why)
		died, unproven = max(died, deepAfter), 0
	}
	if db.stats.Unclean, err = db.bringUp(ctx, died); err != nil {
		return errors.Join(err, db.dir.endStart())
	}
	if err := db.dir.beginRun(unproven + 1); err != nil {
		db.log.Warn("a crash of this process would not be noted", "dir", db.dir.path, "error", err)
	}
	if err := db.settle(); err != nil {
		return err // a failed sync: Badger is left alone, still locked
	}
	db.nextLog = newNextLog(db.dir, db.opts)
	db.keeper = newKeeper(db.dir, db.fence, db.stalls.watch(headName))
	go db.keeper.run(db.failed)
	db.rest.badger = db.badger
	go db.rest.run()
	go db.run()
	return nil
}

// errDied makes a salvage of what may be whole.
var errDied = errors.New("earlier starts died")

// bringUp opens Badger, on what can be salvaged if it has to.
func (db *DB) bringUp(ctx context.Context, died int) (unclean bool, err error) {
	if died >= salvageAfter && db.dir.hasManifest() {
		var clean bool
		if clean, err = db.dir.takeClean(); err != nil {
			return false, fmt.Errorf("take clean-stop marker: %w", err)
		}
		unclean, err = !clean, fmt.Errorf("%w: %d in a row", errDied, died)
	} else {
		unclean, err = db.attempt(ctx, died >= deepAfter)
	}
	if err == nil || !salvageable(err) {
		return unclean, err
	}
	if failed := db.salvage(ctx, err, unclean); failed != nil {
		return true, fmt.Errorf("%w: salvage: %w", err, failed)
	}
	_, err = db.attempt(ctx, false)
	return true, err
}

// attempt prepares the directory and opens Badger.
func (db *DB) attempt(ctx context.Context, deep bool) (unclean bool, err error) {
	if unclean, err = db.prepare(ctx, deep); err != nil {
		return unclean, err
	}
	db.compacts = newCompactions(db.dir, db.log, db.fence)
	log := &badgerLog{log: db.log, fail: db.fence, said: db.compacts.said, flat: db.rest.flattens}
	db.badger, err = openBadger(db.opts.badgerOptions(log), db.dir, db.failed, db.Err)
	return unclean, err
}

// salvageable tells damage, which a salvage ends, from what would come again.
func salvageable(err error) bool {
	if errors.Is(err, ErrDamaged) || errors.Is(err, errDied) {
		return true
	}
	return errors.Is(err, errBadger) && !errors.Is(err, ErrLocked) && !storageFailed(err.Error()) && !starved(err.Error())
}

// starved looks for what a machine without resources or rights says.
func starved(text string) bool {
	for _, errno := range []unix.Errno{unix.EMFILE, unix.ENFILE, unix.ENOMEM, unix.EACCES, unix.EPERM} {
		if strings.Contains(text, errno.Error()) {
			return true
		}
	}
	return false
}

// settle makes what Open itself created durable and private.
func (db *DB) settle() error {
	if err := db.compacts.begin(db.badger); err != nil {
		return err
	}
	if err := db.dir.restrict(); err != nil {
		db.log.Warn("cannot make the database's files private", "dir", db.dir.path, "error", err)
	}
	if err := db.dir.syncLogs(); err != nil {
		return err
	}
	if err := db.dir.syncIfChanged(); err != nil {
		return err
	}
	var err error
	if db.live, err = openLiveLog(db.dir); err != nil {
		return err
	}
	if err := db.openEpoch(); err != nil {
		return err
	}
	if err := db.reportDamage(); err != nil {
		return err
	}
	if err := db.dir.endStart(); err != nil {
		return err
	}
	return db.Err()
}

// openEpoch notes how far the database has come, in a write whose sync is seen
// to succeed: what the head said before may be in the page cache only.
func (db *DB) openEpoch() error {
	next := db.dir.head.head
	next.epoch++
	var err error
	if db.reached, err = lastCommit(db.badger); err != nil {
		return err
	}
	if db.reached < next.highWater {
		return fmt.Errorf("%w: it ends at commit %d and had come to %d", ErrDamaged, db.reached, next.highWater)
	}
	next.highWater = db.reached
	if db.admitted != nil {
		next.note = string(db.admitted)
	}
	db.versions = newVersions(db.badger, db.opts.MemTableSize)
	db.epoch, db.noted = next.epoch, next.note
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

// openBadger opens Badger, or gives up when Badger reports a failed write: with
// more logs than memtables its Open waits (db.go:372) for a flush that is retried
// without end (db.go:1151). What was begun then stays until the process exits.
func openBadger(opts badger.Options, dir *directory, failed <-chan struct{}, cause func() error) (*badger.DB, error) {
	type opened struct {
		db  *badger.DB
		err error
	}
	done := make(chan opened, 1)
	go func() {
		db, err := openAgain(opts, dir)
		done <- opened{db, err}
	}()
	select {
	case o := <-done:
		return o.db, o.err
	case <-failed:
		return nil, cause()
	}
}

// openAttempts bounds how often a file that a power loss left empty may make
// Badger's Open fail: each failure sizes one of them (badger#2207).
const openAttempts = 5

func openAgain(opts badger.Options, dir *directory) (db *badger.DB, err error) {
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

var errBadger = errors.New("open badger")

// openOnce contains the panics with which Badger meets a damaged table
// (a footer: slice bounds out of range).
func openOnce(opts badger.Options) (db *badger.DB, err error) {
	defer func() {
		if p := recover(); p != nil {
			db, err = nil, fmt.Errorf("%w: badger panicked: %v", ErrDamaged, p)
		}
	}()
	db, err = badger.OpenManaged(opts)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", errBadger, err)
	}
	return db, nil
}
