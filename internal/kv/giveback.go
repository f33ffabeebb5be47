package kv

import (
	"context"
	"errors"
	"fmt"
	"time"
)

// fillKey is what GiveBack writes and deletes again.
var fillKey = []byte("\x00fill")

// filling are writes of nothing, in turn with the commits of everyone else.
type filling struct {
	value []byte // nil: the last one, which deletes the key
}

type filler struct{}

func (filler) Write(tx *Tx, ops []filling) error {
	for _, op := range ops {
		if op.value == nil {
			tx.Delete(fillKey)
		} else {
			tx.Set(fillKey, op.value)
		}
	}
	return nil
}

func (filler) Synced([]filling) {}

// GiveBack returns the space of what was deleted to the volume. Badger would
// keep it: a deletion frees its bytes when it meets them in a compaction, and
// after a drain nothing is written that would bring one about.
//
// It fills the memtable up, so that the deletions in it are flushed, and has the
// levels compacted into one. Meanwhile it takes what one flush and one compaction
// take, which [Headroom] covers, and reads the whole database. Commits go on.
// One call runs at a time. An error of a compaction leaves the database as it
// was; the next call begins anew.
func (db *DB) GiveBack(ctx context.Context) error {
	db.giving.Lock()
	defer db.giving.Unlock()
	db.rest.resume()
	if err := db.flush(ctx); err != nil {
		return fmt.Errorf("give space back: %w", err)
	}
	if !db.beginGiving() {
		return ErrClosed
	}
	defer db.readers.Done()
	if err := db.badger.Flatten(1); err != nil {
		return fmt.Errorf("give space back: %w", errors.Join(err, db.Err()))
	}
	return db.Err()
}

// flush has the memtable written as a table, and waits for that: a deletion in
// memory meets nothing in a compaction. Its log goes when it is done.
func (db *DB) flush(ctx context.Context) error {
	logs, err := db.dir.logs()
	if err != nil || len(logs) == 0 {
		return err
	}
	last := logs[len(logs)-1].id
	if err := db.rotate(ctx); err != nil {
		return err
	}
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for {
		if logs, err = db.dir.logs(); err != nil || len(logs) == 0 || logs[0].id > last {
			return err
		}
		select {
		case <-tick.C:
		case <-db.failed:
			return db.Err()
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// rotate writes a memtable full.
func (db *DB) rotate(ctx context.Context) error {
	value := make([]byte, min(db.MaxValue(), db.MaxCommit()-64))
	for left := db.opts.MemTableSize; left > 0; left -= int64(len(value)) {
		if err := db.fill.durable(ctx, filling{value}, len(value)+len(fillKey)); err != nil {
			return err
		}
	}
	return db.fill.durable(ctx, filling{}, len(fillKey))
}

// beginGiving makes Close wait, as for a read.
func (db *DB) beginGiving() bool {
	db.gate.RLock()
	defer db.gate.RUnlock()
	if db.readsEnded || db.fenced.Load() {
		return false
	}
	db.readers.Add(1)
	return true
}
