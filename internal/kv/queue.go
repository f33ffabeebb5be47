package kv

import (
	"context"
	"fmt"
	"time"
)

// Participant turns the operations that wait into writes of one transaction.
// Both methods are called on the committer's goroutine only; they may read the
// database, but must not commit to it. A panic in them ends the process, which
// is safe: nothing of that commit was answered.
type Participant[T any] interface {
	// Write is called once a commit with all of its operations, in the order
	// in which they were queued. An error fences the database; nothing of the
	// transaction is then committed. The slice is reused after the commit.
	Write(tx *Tx, ops []T) error
	// Synced is called when the commit is durable, before any waiter is answered.
	Synced(ops []T)
}

// Queue takes the operations of one participant.
type Queue[T any] struct {
	db    *DB
	who   Participant[T]
	index int
	free  []*run[T] // guarded by db.mu
}

// run is a participant's operations in one batch.
type run[T any] struct {
	queue   *Queue[T]
	ops     []T
	tickets []uint64 // of ops, ascending: what withdraw finds them by
}

// Attach adds a participant to the database's commits. In each commit the
// participants write in the order in which they were attached.
func Attach[T any](db *DB, p Participant[T]) *Queue[T] {
	db.mu.Lock()
	defer db.mu.Unlock()
	q := &Queue[T]{db: db, who: p, index: len(db.queues)}
	db.queues = append(db.queues, q)
	return q
}

// Commit queues op and returns after the commit it rode in was synced.
//
// size is an upper bound of the bytes that Write sets for op: keys and values,
// deleted keys too, and EntryOverhead for each; it may write up to 8 + size/40
// entries. Results travel inside op.
//
// nil: durable. ErrTooLarge, ErrClosed, or ErrFenced alone: nothing happened.
// ErrUnknown (with ErrFenced, or with the context's error when the caller gave
// up waiting): op may be durable, and may still be in use by the participant.
// A crash before Commit returns leaves all of op or nothing of it.
func (q *Queue[T]) Commit(ctx context.Context, op T, size int) error { return q.durable(ctx, op, size) }

func (q *Queue[T]) durable(ctx context.Context, op T, size int) error {
	if err := ctx.Err(); err != nil {
		return fmt.Errorf("commit: %w", err)
	}
	b, err := q.add(op, size, true)
	if err != nil {
		return err
	}
	select {
	case <-b.done:
		return b.err
	case <-ctx.Done():
		return unlessDone(ctx, b)
	}
}

// unlessDone is the answer of a batch to who has given up waiting for it.
func unlessDone(ctx context.Context, b *batch) error {
	select {
	case <-b.done: // both: what is known is worth more
		return b.err
	default:
		return fmt.Errorf("wait for the commit: %w: %w", ErrUnknown, ctx.Err())
	}
}

// Post queues op to ride in the next commit, at the latest after
// Options.LazyDelay. Nobody learns its outcome; a crash may lose it. After a
// fence or Close it does nothing.
func (q *Queue[T]) Post(op T, size int) {
	if _, err := q.add(op, size, false); err != nil {
		q.db.log.Debug("posted operation dropped", "error", err)
	}
}

func (q *Queue[T]) add(op T, size int, waits bool) (*batch, error) {
	if err := q.fits(size); err != nil {
		return nil, err
	}
	q.db.mu.Lock()
	defer q.db.mu.Unlock()
	if err := q.db.refusal(); err != nil {
		return nil, err
	}
	q.db.promote()
	b, _ := q.join(op, size, waits)
	return b, nil
}

func (q *Queue[T]) fits(size int) error {
	if most := q.db.opts.MaxCommit; size > most {
		return fmt.Errorf("%w: %d bytes, at most %d", ErrTooLarge, size, most)
	}
	return nil
}

// join adds op to the newest batch. db.mu is held.
func (q *Queue[T]) join(op T, size int, waits bool) (*batch, uint64) {
	b := q.db.batchFor(size)
	ticket := q.joins(b, op, size, waits)
	q.db.wakeCommitter(b)
	return b, ticket
}

func (q *Queue[T]) joins(b *batch, op T, size int, waits bool) uint64 {
	db := q.db
	r := q.runOf(b)
	db.tickets++
	r.ops, r.tickets = append(r.ops, op), append(r.tickets, db.tickets)
	b.ops++
	b.bytes += size
	b.entries += entriesOf(size)
	if waits {
		b.waiting++
	} else if b.lazyDue.IsZero() {
		b.lazyDue = time.Now().Add(db.opts.LazyDelay)
	}
	return db.tickets
}

// runOf returns this participant's run in b. db.mu is held.
func (q *Queue[T]) runOf(b *batch) *run[T] {
	for len(b.parts) <= q.index {
		b.parts = append(b.parts, nil)
	}
	if r, ok := b.parts[q.index].(*run[T]); ok {
		return r
	}
	r := &run[T]{queue: q}
	if n := len(q.free); n > 0 {
		r, q.free = q.free[n-1], q.free[:n-1]
	}
	b.parts[q.index] = r
	return r
}

func (r *run[T]) write(tx *Tx) error { return r.queue.who.Write(tx, r.ops) }
func (r *run[T]) synced()            { r.queue.who.Synced(r.ops) }

// release drops the references to the operations and keeps the slice.
func (r *run[T]) release() {
	clear(r.ops)
	r.ops, r.tickets = r.ops[:0], r.tickets[:0]
	r.queue.db.mu.Lock()
	r.queue.free = append(r.queue.free, r)
	r.queue.db.mu.Unlock()
}
