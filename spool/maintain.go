package spool

import (
	"errors"
	"fmt"
	"time"
)

const (
	maintainEvery = 5 * time.Second
	// keyGrace is how long a dedupe key outlives the settling of its message,
	// whatever the budget says.
	keyGrace = 15 * time.Minute
)

// maintain ends the retention of receipts, dedupe keys, exceptions and transactions. It
// owns no state and changes it by operations, as everyone does.
func (s *Spool) maintain() {
	tick := time.NewTicker(maintainEvery)
	defer tick.Stop()
	for {
		due := s.expire
		select {
		case <-s.closing:
			return
		case <-s.db.Failed():
			return
		case <-tick.C:
		case <-s.retained.over:
			due = s.expireRetained
		}
		if err := due(); err != nil && !errors.Is(err, ErrClosed) && !s.closed() {
			s.opts.Logger.Error("retention is behind; it is tried again", "error", err)
		}
	}
}

func (s *Spool) expire() error {
	if err := s.watchClock(); err != nil {
		return err
	}
	if err := s.expireReceipts(); err != nil {
		return fmt.Errorf("expire receipts: %w", err)
	}
	if err := s.expireKeys(); err != nil {
		return fmt.Errorf("expire dedupe keys: %w", err)
	}
	if err := s.expireRetained(); err != nil {
		return fmt.Errorf("expire confirmed messages: %w", err)
	}
	if err := s.expireExceptions(); err != nil {
		return fmt.Errorf("expire the ledger's exceptions: %w", err)
	}
	if err := s.forgetTransactions(); err != nil {
		return fmt.Errorf("forget transactions: %w", err)
	}
	return nil
}

// DedupeWindow is the window in effect: since when every key is known.
func (s *Spool) DedupeWindow() time.Duration {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.head.keysGone == 0 {
		return s.opts.DedupeWindow
	}
	since := s.clock.time().Sub(time.Unix(int64(s.head.keysGone+1)*3600, 0))
	return min(max(since, 0), s.opts.DedupeWindow)
}
