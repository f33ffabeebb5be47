package kv

import "time"

// later are operations that offers may overtake, so that many of them share a
// commit and its entries. All fields are guarded by DB.mu.
//
// They keep their order, and that to everything queued but offers: what comes after
// them joins the same batch, or a later one.
type later struct {
	batch *batch    // nil: there are none
	since time.Time // when the first one came
}

// laterMost is how many share a commit, if offers come all the time. One client
// brings as many in three milliseconds.
const laterMost = 16

// Later is Post for what has no hurry and costs less together: it rides in a commit
// with other such operations, at the latest after Options.LazyDelay. An [Offer] may
// be committed before it; whatever else is queued after it is committed after it,
// or with it.
func (q *Queue[T]) Later(op T, size int) {
	err := q.fits(size)
	db := q.db
	db.mu.Lock()
	defer db.mu.Unlock()
	if err == nil {
		err = db.refusal()
	}
	if err != nil {
		db.log.Debug("posted operation dropped", "error", err)
		return
	}
	l := &db.later
	if l.batch != nil && !db.fits(l.batch, size) {
		db.promote()
	}
	if l.batch == nil {
		l.batch, l.since = db.newBatch(), time.Now()
	}
	q.joins(l.batch, op, size, false)
	if l.batch.ops == 1 {
		db.wakeCommitter(nil) // there is something to wait for
	}
}

// promote puts those who may be overtaken where nobody overtakes them any more.
// db.mu is held.
func (db *DB) promote() {
	if db.later.batch != nil {
		db.pending = append(db.pending, db.later.batch)
		db.later.batch = nil
	}
}

// queued yields what waits for its commit. db.mu is held.
func (db *DB) queued(yield func(*batch) bool) {
	for _, b := range db.pending {
		if !yield(b) {
			return
		}
	}
	if db.later.batch != nil {
		yield(db.later.batch)
	}
}

// overtake lets an offer take them along when they are enough, take half of a commit, or
// have waited for half of what they may; a commit of their own would be one more. An
// offer that finds others waiting joins these: a batch behind theirs would send theirs
// off half empty. db.mu is held.
func (db *DB) overtake(now time.Time) {
	l := db.later
	if len(db.pending) > 0 || l.batch == nil {
		return
	}
	if l.batch.ops >= laterMost || now.Sub(l.since) >= db.opts.LazyDelay/2 || db.halfFull(l.batch) {
		db.promote()
	}
}

// awaited promotes what has waited long enough, and tells how long that may still
// be. db.mu is held.
func (db *DB) awaited(now time.Time) time.Duration {
	if db.later.batch == nil {
		return time.Hour
	}
	wait := db.later.batch.lazyDue.Sub(now)
	if wait <= 0 || db.closing {
		db.promote()
	}
	return wait
}
