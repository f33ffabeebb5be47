package spool

import (
	"context"
	"errors"
	"fmt"
)

// offer runs op in a synced transaction, unless ctx ends before that begins, or
// the disk is behind. Of what is refused nothing stays.
func (s *Spool) offer(ctx context.Context, op *appendMessages) error {
	size := op.size()
	if most := s.db.MaxCommit(); size > most {
		s.dropPayloads(op)
		return &TooLargeError{"one commit", int64(size), int64(most)}
	}
	s.announceKeys(op)
	err := errorOf(s.queue.Offer(ctx, op, size))
	if err == nil || errors.Is(err, ErrUnknown) { // apply has it, or open sweeps its chunks
		return err
	}
	s.dropPayloads(op)
	s.mu.Lock()
	op.claimed(s)
	s.mu.Unlock()
	return s.truly(op, err)
}

// announceKeys counts the dedupe keys of op as on their way, until apply has made
// them known or op is refused.
func (s *Spool) announceKeys(op *appendMessages) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, n := range op.added {
		if n.key != (keyHash{}) {
			s.offered[n.key]++
		}
	}
}

// claimed ends what announceKeys began. s.mu is held.
func (op *appendMessages) claimed(s *Spool) {
	for _, n := range op.added {
		if n.key == (keyHash{}) {
			continue
		}
		if s.offered[n.key]--; s.offered[n.key] <= 0 {
			delete(s.offered, n.key)
		}
	}
}

// truly is why op was refused before it was looked at. A message whose dedupe key
// another call has brought may be stored by that one: to say of it that nothing
// is stored could be wrong.
func (s *Spool) truly(op *appendMessages, err error) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, n := range op.added {
		if n.key == (keyHash{}) {
			continue
		}
		if s.keys.mayHave(n.key) || s.offered[n.key] > 0 {
			return fmt.Errorf("%w: %w", ErrUnknown, err)
		}
	}
	return err
}

// patiently reads for a caller who does not wait for a commit that has stalled, as
// the read has to. It is left to end by itself; Close waits for it. Of a disk that does
// not answer no more is asked than readsAtOnce.
func patiently[T any](ctx context.Context, s *Spool, read func() (T, error)) (told T, err error) {
	type answer struct {
		told T
		err  error
	}
	done := make(chan answer, 1)
	s.mu.Lock()
	if s.closed() {
		s.mu.Unlock()
		return read()
	}
	if s.reads == readsAtOnce {
		s.mu.Unlock()
		return told, fmt.Errorf("%w: %w: %d reads have not ended", ErrUnknown, ErrBusy, readsAtOnce)
	}
	s.reads++
	s.running.Go(func() {
		t, err := read()
		s.mu.Lock()
		s.reads--
		s.mu.Unlock()
		done <- answer{t, err}
	})
	s.mu.Unlock()
	select {
	case a := <-done:
		return a.told, a.err
	case <-ctx.Done():
		return told, fmt.Errorf("%w: %w", ErrUnknown, ctx.Err())
	}
}

// readsAtOnce is more than there are connections, if their number is not set.
const readsAtOnce = 4096
