package kv

import (
	"errors"
	"fmt"
)

// Failed is closed at the first failed commit or sync: the process should
// answer what it can and exit without waiting.
func (db *DB) Failed() <-chan struct{} { return db.failed }

// Err says why the database is fenced; nil: it is not.
func (db *DB) Err() error {
	db.mu.Lock()
	defer db.mu.Unlock()
	return db.cause
}

// fence stops everything at the first failure. It is called by the committer
// and by Badger's goroutines through the logger, with Badger's locks held, so
// it must not call Badger and does not block.
func (db *DB) fence(cause error) {
	db.mu.Lock()
	if db.cause != nil {
		db.mu.Unlock()
		return
	}
	db.cause = cause
	db.fenced.Store(true)
	db.promote()
	current, pending := db.current, db.pending
	db.pending = nil
	db.wakeCommitter(nil)
	db.mu.Unlock()

	close(db.failed) // before anyone hears of it: who does must find the rest refused
	if current != nil {
		db.answer(current, db.outcome(cause))
	}
	refused := fmt.Errorf("%w: %w", ErrFenced, cause)
	for _, b := range pending {
		db.answer(b, refused)
	}
	db.dir.noteFence(cause)
	db.log.Error("database fenced: exit and start again", "dir", db.opts.Dir, "error", cause)
}

// outcome is the answer to the operations in the commit that failed.
func (db *DB) outcome(cause error) error {
	if errors.Is(cause, errWrite) {
		return fmt.Errorf("%w: %w", ErrFenced, cause)
	}
	return fmt.Errorf("%w: %w: %w", ErrUnknown, ErrFenced, cause)
}

// refusal says why a new operation cannot be queued. db.mu is held.
func (db *DB) refusal() error {
	if db.cause != nil {
		return fmt.Errorf("%w: %w", ErrFenced, db.cause)
	}
	if db.closing {
		return ErrClosed
	}
	return nil
}
