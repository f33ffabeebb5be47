package kv

import (
	"errors"
	"fmt"
	"math"
	"time"
)

// errWrite marks failures before anything was handed to Badger's log.
var errWrite = errors.New("write the transaction")

// run is the committer: the only goroutine that writes. Each turn takes what
// queued while the previous commit was being synced.
func (db *DB) run() {
	defer close(db.idle)
	timer := time.NewTimer(time.Hour)
	defer timer.Stop()
	for {
		b, wait, end := db.take(time.Now())
		switch {
		case end:
			return
		case b != nil:
			db.commit(b)
		default:
			timer.Reset(wait)
			select {
			case <-db.wake:
			case <-timer.C:
			}
		}
	}
}

// take removes the oldest batch if it is ready.
func (db *DB) take(now time.Time) (b *batch, wait time.Duration, end bool) {
	db.mu.Lock()
	defer db.mu.Unlock()
	if db.cause != nil {
		return nil, 0, true
	}
	latest := db.awaited(now)
	if len(db.pending) == 0 {
		return nil, latest, db.closing
	}
	ready, wait := db.ready(now)
	if !ready {
		return nil, min(wait, latest), false
	}
	b = db.pending[0]
	db.pending = append(db.pending[:0], db.pending[1:]...)
	db.current = b
	return b, 0, false
}

// wakeCommitter tells the committer of a new batch, of the first in it who waits,
// or that enough do; nil: of anything else. db.mu is held.
func (db *DB) wakeCommitter(b *batch) {
	if b != nil && b.ops > 1 && b.waiting != 1 && b.waiting != db.linger.enough {
		return // it was told
	}
	select {
	case db.wake <- struct{}{}:
	default:
	}
}

// commit takes b through its life:
//  1. each participant writes into one transaction; an error: nothing happened.
//  2. Badger logs it; the log is synced, and the directory if it changed. An
//     error from here on: unknown, because Badger keeps what it could not sync.
//  3. each participant learns of it,
//  4. and only then those who wait.
//
// An error fences the database before anyone can read what is not durable.
func (db *DB) commit(b *batch) {
	db.committing.begin()
	defer db.committing.end()
	txn := db.badger.NewTransactionAt(math.MaxUint64, true)
	defer txn.Discard()
	tx := &Tx{txn: txn, inline: db.opts.inlineLimit()}
	if err := b.write(tx); err != nil {
		db.fence(fmt.Errorf("%w: %w", errWrite, err))
		return
	}
	if err := db.seal(tx); err != nil {
		db.fence(fmt.Errorf("%w: %w", errWrite, err))
		return
	}
	started := time.Now()
	if err := db.sync(tx); err != nil {
		return
	}
	stats := CommitStats{Ops: b.ops, Bytes: tx.bytes, Duration: time.Since(started)}
	b.synced()
	if tx.bytes > 0 {
		db.keeper.committed(db.reached) // after the participants' notes
	}
	db.record(stats)
	db.expect(b, stats.Duration)
	db.answer(b, nil)
	b.release()
	db.nextLog.committed()
	if tx.bytes > 0 {
		db.live.zeros.committed(db.live.file, tx.logged(), db.opts.logRoom())
	}
}

// expect is called before those are answered who waited for b.
func (db *DB) expect(b *batch, took time.Duration) {
	db.mu.Lock()
	defer db.mu.Unlock()
	waiting := 0
	if len(db.pending) > 0 {
		waiting = db.pending[0].waiting
	}
	db.linger.answered(b.waiting, waiting, took, time.Now())
}

// seal adds the commit's seal. A transaction that writes nothing has none, and is
// not logged.
func (db *DB) seal(tx *Tx) error {
	if tx.bytes == 0 {
		return nil
	}
	return tx.txn.Set(sealKey, db.sealed.of(db.reached+1))
}

// sync makes tx durable. The gate keeps new readers out until it is known
// whether it is: Badger shows a commit as soon as it has ended, also one whose
// sync failed.
func (db *DB) sync(tx *Tx) error {
	db.gate.Lock()
	defer db.gate.Unlock()
	err := db.write(tx)
	if err == nil {
		err = db.dir.syncIfChanged()
	}
	if err != nil {
		db.fence(fmt.Errorf("commit: %w", err))
	}
	// A flush that failed is only logged by Badger (db.go:1162): the logger has
	// fenced before.
	return db.Err()
}

// write has Badger log tx, and syncs the log. A transaction that writes nothing
// is not logged, and has no number.
func (db *DB) write(tx *Tx) error {
	if tx.bytes == 0 {
		return db.commitTxn(tx.txn, 0)
	}
	version := db.versions.next(db.reached+1, tx)
	if err := db.commitTxn(tx.txn, version); err != nil {
		return err
	}
	db.reached++
	if !syncWrites {
		return nil
	}
	log := db.live.id
	err := db.live.sync()
	if db.live.id == log {
		return err
	}
	if version != db.reached { // Open would take one log for the other
		return errors.Join(err, fmt.Errorf("log %d begins with commit %d of version %d", db.live.id, db.reached, version))
	}
	db.versions.rotated(tx)
	db.rest.begunLog()
	return err
}
