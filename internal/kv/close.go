package kv

import (
	"context"
	"errors"
	"fmt"
)

// Close commits what is queued, posted operations included, waits for running
// reads, closes Badger and marks the directory as closed cleanly. It takes at
// most Options.CloseWait, and is ErrStorage when the disk has not done by then
// what was asked of it; nil: the next Open need not recover anything.
//
// On a fenced database it returns the cause at once and leaves Badger alone:
// closing it would flush what was never acknowledged. Later calls return the
// same result.
func (db *DB) Close() error {
	db.closeOnce.Do(func() {
		if err := db.close(); err != nil {
			db.closeErr = fmt.Errorf("close database in %s: %w", db.opts.Dir, err)
		}
	})
	return db.closeErr
}

func (db *DB) close() error {
	db.mu.Lock()
	db.closing = true
	db.wakeCommitter(nil)
	db.mu.Unlock()

	ctx, cancel := context.WithTimeoutCause(context.Background(), db.opts.CloseWait,
		fmt.Errorf("not done within %s", db.opts.CloseWait))
	defer cancel()
	if err := db.await(ctx, db.idle); err != nil {
		return db.hangs(ctx, fmt.Errorf("commit what is queued: %w", err))
	}
	if err := db.await(ctx, db.endReads()); err != nil {
		return fmt.Errorf("wait for reads: %w", err)
	}
	if err := db.await(ctx, db.keeper.end()); err != nil {
		return db.hangs(ctx, fmt.Errorf("write %s: %w", headName, err))
	}
	if err := db.await(ctx, db.rest.end()); err != nil {
		return db.hangs(ctx, fmt.Errorf("wait for compactions: %w", err))
	}
	if err := db.closeStore(ctx); err != nil {
		return db.hangs(ctx, err)
	}
	return db.dir.close()
}

// hangs says of what was not done in time that it was left to the disk to do it.
func (db *DB) hangs(ctx context.Context, err error) error {
	if ctx.Err() == nil {
		return err
	}
	return fmt.Errorf("%w: %w", ErrStorage, err)
}

// endReads refuses new reads and tells when the running ones have ended.
func (db *DB) endReads() <-chan struct{} {
	done := make(chan struct{})
	go func() {
		db.gate.Lock()
		db.readsEnded = true
		db.gate.Unlock()
		db.readers.Wait()
		close(done)
	}()
	return done
}

func (db *DB) await(ctx context.Context, done <-chan struct{}) error {
	select {
	case <-done:
	case <-db.failed:
	case <-ctx.Done():
		return context.Cause(ctx)
	}
	return db.Err()
}

func (db *DB) closeStore(ctx context.Context) error {
	if err := db.live.close(); err != nil {
		return err
	}
	if err := closeBadger(ctx, db.closeJudged, db.failed, db.Err); err != nil {
		return err
	}
	if err := db.compacts.closed(); err != nil {
		return err
	}
	if err := db.keeper.closed(); err != nil {
		return err
	}
	if err := db.nextLog.remove(); err != nil {
		return fmt.Errorf("remove the next log: %w", err)
	}
	if err := db.Err(); err != nil { // what was held could not be removed
		return err
	}
	if err := db.dir.endRun(); err != nil {
		return fmt.Errorf("forget this run: %w", err)
	}
	return db.dir.markClean()
}

// closeJudged closes Badger once all that is in use is held.
func (db *DB) closeJudged() error {
	if err := db.compacts.beforeClose(); err != nil {
		return err
	}
	return db.badger.Close()
}

// closeBadger calls Badger's Close, unless that fails or hangs: its flush retries
// errors without end (db.go:1151), and then it is left behind, still locked.
func closeBadger(ctx context.Context, closing func() error, failed <-chan struct{}, cause func() error) error {
	done := make(chan error, 1)
	go func() { done <- closing() }()
	select {
	case err := <-done:
		return errors.Join(err, cause())
	case <-failed:
		return cause()
	case <-ctx.Done():
		return fmt.Errorf("close badger: %w", context.Cause(ctx))
	}
}
