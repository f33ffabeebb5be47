package kv

import (
	"context"
	"fmt"
	"slices"
	"time"
)

// Offer is Commit for a caller who would rather be refused than wait for a disk
// that is behind. op is only withdrawn whole: while it waits for its commit to
// begin, and never after.
//
// nil: durable. Nothing happened: ErrBusy, at once, when a commit has stalled or
// too much is queued; the context's error when it ended while op waited;
// ErrTooLarge, ErrClosed, ErrFenced. ErrUnknown, with one of these: op is in the
// commit that is being written, and will be durable if that succeeds.
func (q *Queue[T]) Offer(ctx context.Context, op T, size int) error {
	if err := ctx.Err(); err != nil {
		return fmt.Errorf("offer: %w", err)
	}
	b, ticket, err := q.offer(op, size)
	if err != nil {
		return err
	}
	select {
	case <-b.done:
		return b.err
	case <-ctx.Done():
	}
	if q.withdraw(b, ticket, size) {
		return fmt.Errorf("wait for a commit: %w", ctx.Err())
	}
	return unlessDone(ctx, b)
}

func (q *Queue[T]) offer(op T, size int) (*batch, uint64, error) {
	if err := q.fits(size); err != nil {
		return nil, 0, err
	}
	q.db.mu.Lock()
	defer q.db.mu.Unlock()
	if err := q.db.refusal(); err != nil {
		return nil, 0, err
	}
	if err := q.db.busy(size); err != nil {
		return nil, 0, err
	}
	q.db.overtake(time.Now())
	b, ticket := q.join(op, size, true)
	return b, ticket, nil
}

// withdraw takes an operation out of its batch, unless the committer has it.
func (q *Queue[T]) withdraw(b *batch, ticket uint64, size int) bool {
	db := q.db
	db.mu.Lock()
	defer db.mu.Unlock()
	at := slices.Index(db.pending, b)
	if at < 0 {
		return false
	}
	r := q.runOf(b)
	i, found := slices.BinarySearch(r.tickets, ticket)
	if !found {
		return false
	}
	r.ops = slices.Delete(r.ops, i, i+1)
	r.tickets = slices.Delete(r.tickets, i, i+1)
	if len(r.ops) == 0 { // a participant is only called with operations
		b.parts[q.index] = nil
		q.free = append(q.free, r)
	}
	b.ops--
	b.waiting--
	b.bytes -= size
	b.entries -= entriesOf(size)
	if b.ops == 0 {
		db.pending = slices.Delete(db.pending, at, at+1)
	}
	return true
}
