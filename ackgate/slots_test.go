package ackgate

import (
	"context"
	"slices"
	"testing"
	"time"

	"github.com/remora-mq/remora/internal/backoff"
	"github.com/remora-mq/remora/push"
)

// inProgress counts the marks that are begun and not ended.
func (s *scene) inProgress() (n int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, m := range s.marks {
		if m.held {
			n++
		}
	}
	return n
}

// watchMarks notes how many marks are in progress during each call, with its own.
func (s *scene) watchMarks() *[]int {
	var seen []int
	s.during = func(*push.Call) {
		time.Sleep(time.Microsecond) // the others do what they can
		seen = append(seen, s.inProgress())
	}
	return &seen
}

// TestMarksOfAQuickHandlerAreBegunAhead: when its calls are known to be quick, the next
// one need not wait for its mark. Its calls stay one at a time.
func TestMarksOfAQuickHandlerAreBegunAhead(t *testing.T) {
	bubble(t, func(s *scene) {
		o := options()
		o.Concurrency = 1
		s.ahead, s.takes = 3, time.Millisecond
		seen := s.watchMarks()
		s.start(o).run(time.Minute, deliveries(100)...)
		if first, last := (*seen)[0], (*seen)[90]; first != 1 || last != 2 {
			t.Errorf("marks in progress: %d during the first call, %d when it is known to be quick, want 1 and 2", first, last)
		}
		if s.most != 1 {
			t.Errorf("%d calls at a time, want 1", s.most)
		}
		s.wantAcks(handled, 100)
	})
}

// TestMarksOfASlowHandlerWaitForTheirCall: what waits long is not in progress, so that
// a crash costs it no attempt, and others may have it.
func TestMarksOfASlowHandlerWaitForTheirCall(t *testing.T) {
	bubble(t, func(s *scene) {
		o := options()
		o.Concurrency = 1
		s.ahead, s.takes = 3, quickCall+time.Millisecond
		seen := s.watchMarks()
		s.start(o).run(time.Minute, deliveries(100)...)
		for i, n := range *seen {
			if n != 1 {
				t.Fatalf("%d marks are in progress during call %d, want its own", n, i)
			}
		}
	})
}

// TestNoMarkAheadOfTheOnlyAttempt: a process that is killed would leave a message that
// was never called without one.
func TestNoMarkAheadOfTheOnlyAttempt(t *testing.T) {
	bubble(t, func(s *scene) {
		o := options()
		o.Concurrency, o.MaxAttempts = 1, 1
		s.ahead, s.takes = 3, time.Millisecond
		seen := s.watchMarks()
		s.start(o).run(time.Minute, deliveries(100)...)
		if most := slices.Max(*seen); most != 1 {
			t.Errorf("%d marks are in progress during a call, want its own", most)
		}
		s.wantAcks(handled, 100)
	})
}

// TestMarkAheadOfAHandlerThatHangsIsGivenUp: after a second, and at the cost of no
// attempt.
func TestMarkAheadOfAHandlerThatHangsIsGivenUp(t *testing.T) {
	bubble(t, func(s *scene) {
		o := options()
		o.Concurrency, o.Timeout = 1, time.Minute
		s.ahead = 3
		held := -1
		s.during = func(*push.Call) {
			if len(s.calls) != 100 {
				time.Sleep(time.Millisecond)
				return
			}
			time.Sleep(aheadMost + time.Millisecond)
			held = s.inProgress()
			time.Sleep(10 * time.Second)
		}
		s.start(o).run(time.Hour, deliveries(110)...)
		if held != 1 {
			t.Errorf("%d marks are in progress a second into a call that hangs, want its own", held)
		}
		for _, c := range s.calls {
			if c.Attempt != 1 {
				t.Errorf("%s: attempt %d, want 1", c.Delivery.Identity, c.Attempt)
			}
		}
		s.wantAcks(handled, 110)
		if n := len(s.gate.slots.calls) + len(s.gate.slots.ahead); n != 0 {
			t.Errorf("%d places are taken at the end", n)
		}
	})
}

// TestProbeHasASlot: while a quick handler fails, whoever may probe it has a slot, or
// gives its turn to one that has: it waits for none that those hold who wait for it.
func TestProbeHasASlot(t *testing.T) {
	bubble(t, func(s *scene) {
		o := options()
		o.Concurrency, o.MaxAttempts, o.MaxHold, o.InPlace = 4, 10_000, time.Hour, time.Hour
		o.Retry, o.Probe = backoff.Policy{Initial: time.Second, Max: time.Second}, backoff.Policy{Initial: 100 * time.Millisecond, Max: 100 * time.Millisecond}
		s.ahead, s.takes = 60, time.Millisecond
		var failed, last time.Time // the first and the last one
		var longest time.Duration  // between two
		s.verdict = func(*push.Call) *push.Answer {
			now := time.Now()
			switch {
			case len(s.calls) <= 200: // it is known to be quick
				return nil
			case failed.IsZero():
				failed = now
			case s.gate.State().String() == "failing":
				longest = max(longest, now.Sub(last))
			}
			last = now
			return &failing
		}
		s.start(o).run(time.Minute, deliveries(300)...)
		if n := len(s.calls); n < 200+60*10 || longest > 101*time.Millisecond {
			t.Errorf("%d calls in a minute, and %v between two probes, want one each 50 to 100 ms", n, longest)
		}
	})
}

// TestNoSlotAfterTheStop: also where one is to be had, or was had before.
func TestNoSlotAfterTheStop(t *testing.T) {
	ctx, stop := context.WithCancel(t.Context())
	defer stop()
	s := newSlots(1, 2)
	s.took.Store(0) // quick
	never := func() bool { return false }
	first, err := s.enter(ctx, never)
	if err != nil {
		t.Fatal(err)
	}
	ahead, err := s.enter(ctx, never)
	if err != nil || !ahead.isAhead() {
		t.Fatalf("ahead: %+v, %v", ahead, err)
	}
	stop()
	if first.slot(ctx) {
		t.Error("who has a slot may call after the stop")
	}
	first.leave()
	for range 100 { // of two ways, one is taken at random
		if ahead.slot(ctx) {
			t.Fatal("who is ahead may call after the stop")
		}
	}
	ahead.leave()
	if n := len(s.calls) + len(s.ahead); n != 0 {
		t.Errorf("%d places are taken at the end", n)
	}
}
