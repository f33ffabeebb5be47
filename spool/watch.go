package spool

import (
	"context"
	"slices"

	"github.com/remora-mq/remora/message"
)

// Wait returns the receipt of a message as soon as it is settled or a dead
// letter; when ctx ends before, the receipt as it stands then, and no error.
// A confirmation counts from the broker's answer on, before it is recorded.
func (s *Spool) Wait(ctx context.Context, id message.ID) (message.Receipt, error) {
	seq := s.seqOf(id)
	ended := s.watch(seq)
	defer s.unwatch(seq, ended)
	r, err := s.Receipt(context.WithoutCancel(ctx), id)
	if err != nil || r.State.Settled() || r.State == message.StateDead {
		return r, err
	}
	select {
	case <-ended:
	case <-ctx.Done():
	case <-s.closing:
	}
	return s.Receipt(context.WithoutCancel(ctx), id)
}

func (s *Spool) watch(seq uint64) chan struct{} {
	s.mu.Lock()
	defer s.mu.Unlock()
	ended := make(chan struct{})
	s.watchers[seq] = append(s.watchers[seq], ended)
	return ended
}

func (s *Spool) unwatch(seq uint64, ended chan struct{}) {
	s.mu.Lock()
	defer s.mu.Unlock()
	rest := slices.DeleteFunc(s.watchers[seq], func(c chan struct{}) bool { return c == ended })
	if s.watchers[seq] = rest; len(rest) == 0 {
		delete(s.watchers, seq)
	}
}

// notify wakes who waits for the end of seq. s.mu is held.
func (s *Spool) notify(seq uint64) {
	for _, ended := range s.watchers[seq] {
		close(ended)
	}
	delete(s.watchers, seq)
}
