package dedupetest

import (
	"context"
	"errors"
	"sync"
	"sync/atomic"

	"github.com/remora-mq/remora/dedupe"
)

func windowIsKept(s *subject) {
	s.done(s.begun(1))
	for range 9 {
		s.Advance(s.Window / 10)
		s.beginKey(dedupe.Key{Scope: key.Scope, Key: "traffic"}, one)
		s.want(one, dedupe.Repeat, 0, false)
	}
}

func windowEnds(s *subject) {
	s.done(s.begun(1))
	for range 5 {
		s.Advance(s.Window / 2)
		s.beginKey(dedupe.Key{Scope: key.Scope, Key: "traffic"}, one)
	}
	s.begun(1)
}

func windowBeginsAtDone(s *subject) {
	m := s.begun(1)
	s.Advance(s.Window * 9 / 10)
	s.done(m)
	s.Advance(s.Window * 9 / 10)
	s.want(one, dedupe.Repeat, 0, false)
}

// windowOfAConflictBeginsAtDone: of each content that is done.
func windowOfAConflictBeginsAtDone(s *subject) {
	s.done(s.begun(1))
	m := s.want(other, dedupe.Begun, 1, true)
	s.Advance(s.Window * 9 / 10)
	s.done(m)
	s.Advance(s.Window * 9 / 10)
	s.want(other, dedupe.Repeat, 0, false)
}

func oneOfManyBegins(s *subject) {
	const n = 32
	var begun, waiting atomic.Int32
	s.together(n, func() {
		switch m, err := s.Store.Begin(context.Background(), key, one, lease); {
		case err != nil:
			s.Errorf("begin: %v", err)
		case m.Verdict == dedupe.Begun:
			begun.Add(1)
		case m.Verdict == dedupe.InProgress:
			waiting.Add(1)
		}
	})
	if begun.Load() != 1 || waiting.Load() != n-1 {
		s.Errorf("%d began and %d wait, of %d", begun.Load(), waiting.Load(), n)
	}
}

// manyTakeTurns: at no time two holders, and each attempt number once.
func manyTakeTurns(s *subject) {
	const n = 8
	var holders atomic.Int32
	seen := make([]atomic.Int32, n+1)
	s.together(n, func() {
		for {
			m, err := s.Store.Begin(context.Background(), key, one, lease)
			if err != nil {
				s.Errorf("begin: %v", err)
				return
			}
			if m.Verdict != dedupe.Begun {
				continue
			}
			if holders.Add(1) != 1 {
				s.Error("two hold one key")
			}
			seen[m.Attempt].Add(1)
			holders.Add(-1)
			if err := s.Store.Release(context.Background(), key, m, true); err != nil {
				s.Errorf("release: %v", err)
			}
			return
		}
	})
	for attempt := 1; attempt <= n; attempt++ {
		if seen[attempt].Load() != 1 {
			s.Errorf("attempt %d was counted %d times", attempt, seen[attempt].Load())
		}
	}
}

func (s *subject) together(n int, do func()) {
	var wg sync.WaitGroup
	for range n {
		wg.Go(do)
	}
	wg.Wait()
}

func cancelledCallReturns(s *subject) {
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	if m, err := s.Store.Begin(ctx, key, one, lease); err == nil || m.Verdict != dedupe.InProgress {
		s.Errorf("begin with a cancelled context: %v, %v", m.Verdict, err)
	}
}

func closedStoreRefuses(s *subject) {
	m := s.begun(1)
	s.no(s.Store.Close())
	ctx := context.Background()
	if got, err := s.Store.Begin(ctx, key, other, lease); !errors.Is(err, dedupe.ErrClosed) || got.Verdict != dedupe.InProgress {
		s.Errorf("begin: %v, %v", got.Verdict, err)
	}
	if err := s.Store.Done(ctx, key, m); !errors.Is(err, dedupe.ErrClosed) {
		s.Errorf("done: %v", err)
	}
}

func reopenedStoreKnows(s *subject) {
	if s.Reopen == nil {
		return
	}
	s.done(s.begun(1))
	unfinished := dedupe.Key{Scope: key.Scope, Key: "order-2"}
	s.beginKey(unfinished, one)
	s.Store = s.Reopen()
	s.want(one, dedupe.Repeat, 0, false)
	s.want(other, dedupe.Begun, 1, true)
	s.Advance(lease + lease/10)
	if m := s.beginKey(unfinished, one); m.Verdict != dedupe.Begun || m.Attempt != 2 {
		s.Errorf("the unfinished one: %v, attempt %d; want begun, 2", m.Verdict, m.Attempt)
	}
}
