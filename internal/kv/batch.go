package kv

import "time"

// batch is the set of operations of one commit, formed while they queue. Those
// who wait hold the batch, not a channel of their own: closing done answers
// all of them, so an operation costs no allocation.
//
// All fields but err are guarded by DB.mu until the batch is taken, then owned
// by the committer; err is written before done is closed.
type batch struct {
	parts   []part // by order of attachment; nil: no operations of that participant
	ops     int
	waiting int       // operations whose caller waits
	bytes   int       // sum of declared sizes
	entries int       // sum of assumed entries
	lazyDue time.Time // when the oldest posted operation must go; zero: none

	done     chan struct{}
	err      error
	answered bool // guarded by DB.mu
}

// part is what one participant has in a batch: a run[T] with its type erased.
type part interface {
	write(tx *Tx) error
	synced()
	release()
}

// entriesOf is the number of entries an operation may write: Badger limits a
// transaction's count as well as its bytes, and only bytes are declared.
func entriesOf(size int) int { return 8 + size/40 }

// batchFor returns the newest batch if the operation fits into it, else a new
// one. db.mu is held.
func (db *DB) batchFor(size int) *batch {
	if n := len(db.pending); n > 0 {
		if b := db.pending[n-1]; db.fits(b, size) {
			return b
		}
	}
	b := db.newBatch()
	db.pending = append(db.pending, b)
	return b
}

// fits reports whether an operation may join b. db.mu is held.
func (db *DB) fits(b *batch, size int) bool {
	return b.bytes+size <= db.opts.MaxCommit && b.entries+entriesOf(size) <= db.maxEntries
}

// halfFull reports whether b has half of what fits into it. db.mu is held.
func (db *DB) halfFull(b *batch) bool {
	return b.bytes > db.opts.MaxCommit/2 || b.entries > db.maxEntries/2
}

func (db *DB) newBatch() *batch {
	return &batch{done: make(chan struct{}), parts: make([]part, len(db.queues))}
}

// ready reports whether the oldest batch should be committed now, and else how
// long it can wait. db.mu is held.
func (db *DB) ready(now time.Time) (ready bool, wait time.Duration) {
	b := db.pending[0]
	switch {
	case len(db.pending) > 1 || db.closing:
		return true, 0
	case b.waiting > 0:
		wait = db.linger.wait(b.waiting, now)
		return wait <= 0, wait
	}
	wait = b.lazyDue.Sub(now)
	return wait <= 0, wait
}

// answer releases everyone who waits for b, once; the first answer counts.
func (db *DB) answer(b *batch, err error) {
	db.mu.Lock()
	first := !b.answered
	b.answered = true
	db.mu.Unlock()
	if first {
		b.err = err
		close(b.done)
	}
}

func (b *batch) write(tx *Tx) error {
	for _, p := range b.parts {
		if p == nil {
			continue
		}
		if err := p.write(tx); err != nil {
			return err
		}
		if tx.err != nil {
			return tx.err
		}
	}
	return nil
}

func (b *batch) synced() {
	for _, p := range b.parts {
		if p != nil {
			p.synced()
		}
	}
}

func (b *batch) release() {
	for _, p := range b.parts {
		if p != nil {
			p.release()
		}
	}
	b.parts = nil
}
