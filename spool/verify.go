package spool

import (
	"context"
	"errors"
	"fmt"
	"time"
)

// What lies on the disk for long may rot there unread. So all tables of the
// database are read again and again, slowly: a pass begins a while after the
// opening, and the next a day after its end.
const (
	verifyAfter = time.Minute
	verifyEvery = 24 * time.Hour
	verifyRate  = 8 << 20 // bytes a second
)

// Verified tells how far the verification has come.
type Verified struct {
	Bytes  uint64    `json:"bytes"`  // read since the opening
	Passes uint64    `json:"passes"` // over all that there was
	Last   time.Time `json:"last"`   // end of the last pass; zero: none yet
}

// Verified returns how far the verification has come.
func (s *Spool) Verified() Verified {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.verified
}

func (s *Spool) keepVerifying() {
	s.everyDay(func() error { return s.verify(s.life, verifyRate) })
}

// everyDay makes passes until the spool ends. One that fails ends none of the others.
func (s *Spool) everyDay(pass func() error) {
	for wait := verifyAfter; ; wait = verifyEvery {
		if s.pause(wait) != nil {
			return
		}
		if err := pass(); err != nil && s.life.Err() == nil {
			s.opts.Logger.Error("the verification of the spool was given up; it begins anew tomorrow", "error", err)
		}
	}
}

// pause returns early, with an error, when the spool ends.
func (s *Spool) pause(d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-s.closing:
		return ErrClosed
	case <-s.db.Failed():
		return ErrReadOnly
	}
}

// verify reads every table at rate bytes a second. When one is damaged it counts
// all records, to say which sequences cannot be read now; the next opening
// salvages, and says which are lost.
func (s *Spool) verify(ctx context.Context, rate int64) error {
	found, err := s.db.Scrub(ctx, func(bytes int64) error {
		s.mu.Lock()
		s.verified.Bytes += uint64(bytes)
		s.mu.Unlock()
		return s.pause(time.Duration(bytes) * time.Second / time.Duration(rate))
	})
	for _, f := range found {
		s.notice(f.String())
	}
	if err == nil && len(found) > 0 {
		err = s.nameUnreadable(ctx)
	}
	if err != nil {
		return fmt.Errorf("verify: %w", err)
	}
	s.mu.Lock()
	s.verified.Passes++
	s.verified.Last = s.now()
	s.mu.Unlock()
	return nil
}

func (s *Spool) nameUnreadable(ctx context.Context) error {
	a, err := s.Audit(ctx)
	if err == nil && len(a.Missing) > 0 {
		s.notice(fmt.Sprintf("sequences that cannot be read now: %v", a.Missing))
	}
	if errors.Is(err, context.Canceled) {
		return err
	}
	return nil // what could not be counted is damaged, which is said already
}
