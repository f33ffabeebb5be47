package spool

import (
	"context"
	"fmt"
	"time"

	"github.com/remora-mq/remora/message"
)

// ReleaseHeld lets a message on hold be forwarded again, at its place in the order of
// its topic, and a delayed one fall due when it is. When it returns nil that is on
// stable storage; a crash before leaves the message on hold or not. Of a message that
// is not on hold it returns the receipt.
//
// Errors: ErrNotFound; ErrWrongState when it is a dead letter or settled; those
// of a commit. Once begun it does not end with ctx.
func (s *Spool) ReleaseHeld(ctx context.Context, id message.ID) (message.Receipt, error) {
	seq, current, err := s.toChange(ctx, id)
	if err != nil {
		return current, err
	}
	for {
		h, mine, err := s.takeForRelease(seq, current)
		if s.movedOn(id, seq, current, err) {
			return s.ReleaseHeld(ctx, id)
		}
		if err != nil {
			return current, err
		}
		if h == nil {
			return s.Receipt(ctx, id)
		}
		op := operation(&flush{}) // after which another call's hold or release is done
		if mine {
			if op, err = s.releaseOf(seq, h); err != nil {
				return current, err
			}
		}
		if err := s.commit(context.WithoutCancel(ctx), op); err != nil {
			return current, fmt.Errorf("release message %s: %w", id, err)
		}
		if mine { // by now it may be confirmed, too
			return s.Receipt(context.WithoutCancel(ctx), id)
		}
	}
}

// takeForRelease returns the hold of a message, nil when there is none; mine:
// nobody else is changing it.
func (s *Spool) takeForRelease(seq uint64, current message.Receipt) (h *hold, mine bool, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := s.holdable(seq, current); err != nil {
		return nil, false, err
	}
	h = s.holds[seq]
	if h == nil || !h.synced || h.releasing {
		return h, false, nil
	}
	h.releasing = true
	return h, true, nil
}

// releaseOf reads the message before its hold is given up.
func (s *Spool) releaseOf(seq uint64, h *hold) (operation, error) {
	e, until, err := s.entryOnDisk(seq)
	if err == nil {
		return &releaseHold{seq, h, e, until}, nil
	}
	s.mu.Lock()
	h.releasing = false
	s.mu.Unlock()
	return nil, fmt.Errorf("release: %w", err)
}

// releaseHold deletes the entry of a hold.
type releaseHold struct {
	seq uint64
	h   *hold
	e   *entry

	delayed *delayed // nil: it is pending
}

func (op *releaseHold) size() int { return fixedSize }

func (op *releaseHold) apply(c *commit) {
	c.deletes = append(c.deletes, holdKey(op.h.lane.id, op.seq))
}

// synced makes the message leasable, unless it was cancelled meanwhile. What no
// window has come upon yet will be brought in like any other.
func (op *releaseHold) synced(s *Spool) {
	if s.holds[op.seq] != op.h {
		return
	}
	l := op.h.lane
	s.dropHold(op.seq, op.h)
	if op.delayed != nil {
		s.schedule(op.delayed.due)
		return
	}
	if op.seq > l.window.loadedTo && !op.e.redriven {
		return
	}
	e := op.e
	e.lane, e.tried = l, op.h.tried
	s.bringIn(e)
	s.unblock(op.seq)
	l.ready.raise()
}

// RetryNow makes a message that waits for its next attempt pending at once. That
// is in memory, as the wait is. It changes nothing of one that is pending or in
// flight. Errors: ErrNotFound; ErrWrongState when the message is on hold, a dead
// letter or settled.
func (s *Spool) RetryNow(ctx context.Context, id message.ID) (message.Receipt, error) {
	seq, current, err := s.toChange(ctx, id)
	if err != nil {
		return current, err
	}
	if err := s.retryNow(seq, current); err != nil {
		return current, err
	}
	return s.Receipt(ctx, id)
}

func (s *Spool) retryNow(seq uint64, current message.Receipt) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := s.holdable(seq, current); err != nil {
		return err
	}
	if current.State == message.StateDelayed {
		return fmt.Errorf("%w: it is delayed until %s; until then it can be cancelled, or put on hold", ErrWrongState, current.DeliverAt.UTC().Format(time.RFC3339))
	}
	if s.holds[seq] != nil {
		return fmt.Errorf("%w: it is on hold; release it first", ErrWrongState)
	}
	e := s.entries[seq]
	if e == nil || e.state != message.StateRetrying {
		return nil
	}
	w := &e.lane.window
	w.waiting.remove(e)
	w.release(e)
	e.state = message.StatePending
	w.enqueue(e)
	e.lane.ready.raise()
	return nil
}
