package forwarder

import (
	"testing"
	"testing/synctest"
	"time"
)

// The ramp narrows when nothing is confirmed between failures and nothing else
// runs, and widens by one for each round of confirmations.
func TestRamp(t *testing.T) {
	r := newRamp(4)
	r.lanes = 2
	is := func(want int, what string) {
		t.Helper()
		if r.allowed != want {
			t.Errorf("%s: %d are allowed, want %d", what, r.allowed, want)
		}
	}
	r.running = 3
	r.failed("a")
	r.failed("b")
	is(4, "others run, that may yet be confirmed")
	r.running = 1
	r.succeeded()
	r.failed("b")
	is(4, "one was confirmed before")
	r.failed("b")
	is(4, "one topic is stuck")
	r.failed("a")
	is(1, "the last of them failed, too")
	for n, want := range []int{2, 2, 3, 3, 3, 4, 4} {
		r.succeeded()
		is(want, "after confirmations")
		if n == 0 {
			r.failed("b")
			is(2, "one failure between")
			r.succeeded()
			r.allowed, r.confirmed = 2, 0
		}
	}
}

// Where there is one topic, its failure is the broker's.
func TestRampOfOneTopic(t *testing.T) {
	r := newRamp(4)
	r.lanes = 1
	r.failed("a")
	if r.allowed != 4 {
		t.Errorf("%d are allowed after one failure", r.allowed)
	}
	r.succeeded()
	if r.failed("a"); r.allowed != 4 {
		t.Errorf("%d are allowed after a failure, with a confirmation since the one before", r.allowed)
	}
	if r.failed("a"); r.allowed != 1 {
		t.Errorf("%d are allowed", r.allowed)
	}
}

// What is wrong with a topic alone says nothing of the broker, also where there is no
// other topic.
func TestParkedTopicDoesNotNarrow(t *testing.T) {
	s := newSlots(4)
	s.join()
	for range 3 {
		s.failed("a", newTurn(1), true)
	}
	if n := s.limit(); n != 4 {
		t.Errorf("%d are allowed", n)
	}
}

// narrow makes slots of which one may be used, as after an outage.
func narrow(most int) *slots {
	s := newSlots(most)
	s.join()
	s.failed("a", newTurn(1), false)
	s.failed("a", newTurn(1), false)
	return s
}

// While the ramp is narrow who waits is let go as it widens, and who fails does not
// wait for it.
func TestRampIsWaitedFor(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := narrow(8)
		var running []*batch
		for range 4 {
			b := s.queue(t.Context(), newTurn(1), true, false)
			go func() {
				if s.take(t.Context(), b) {
					s.mu.Lock()
					defer s.mu.Unlock()
					running = append(running, b)
				}
			}()
		}
		is := func(want int) {
			t.Helper()
			synctest.Wait()
			s.mu.Lock()
			defer s.mu.Unlock()
			if len(running) != want {
				t.Fatalf("%d run, want %d", len(running), want)
			}
		}
		is(1)
		if failing := s.queue(t.Context(), newTurn(1), false, false); !s.take(t.Context(), failing) {
			t.Error("who fails waits for the ramp")
		}
		s.succeeded()
		is(2)
		s.give(running[0])
		is(3)
		s.succeeded()
		s.succeeded()
		is(4)
	})
}

// Topics of which one begins to fail are sent away with what waits; the others are not.
func TestWhoFailsDoesNotWaitOn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newSlots(8)
		s.join()
		s.join()
		s.ramp.allowed = 1
		first := s.queue(t.Context(), newTurn(1), true, false)
		failing, other := newTurn(1), newTurn(1)
		sent := s.queue(t.Context(), failing, true, false)
		stays := s.queue(t.Context(), other, true, false)
		behind := make(chan *batch)
		go func() { behind <- s.queue(t.Context(), failing, true, false) }()
		synctest.Wait()
		s.failed("a", failing, true)
		if s.take(t.Context(), sent) || s.take(t.Context(), <-behind) {
			t.Error("it has a slot, and its topic fails")
		}
		time.AfterFunc(time.Second, func() { s.give(first) })
		if !s.take(t.Context(), stays) {
			t.Error("the other one was sent away, too")
		}
		if s.give(stays); s.running != 0 || len(s.waiting) != 0 || s.weights != 0 {
			t.Errorf("%d run, %d wait", s.running, len(s.waiting))
		}
	})
}
