package forwarder

import (
	"context"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

// compete has topics take slots for a second each, for so long, and counts them.
func compete(s *slots, forTime time.Duration, weights map[string]int) map[string]int {
	ctx, stop := context.WithTimeout(context.Background(), forTime)
	defer stop()
	var mu sync.Mutex
	var all sync.WaitGroup
	got := map[string]int{}
	for name, weight := range weights {
		t := newTurn(weight)
		all.Go(func() {
			for s.take(ctx, t) {
				mu.Lock()
				got[name]++
				mu.Unlock()
				all.Go(func() { time.Sleep(time.Second); s.give() })
			}
		})
	}
	all.Wait()
	return got
}

// Topics share the slots by their weights, and none waits for ever. Slots that are
// given back at one moment go to all that wait, so here it is one at a time.
func TestSlotsAreSharedByWeight(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &slots{free: 1}
		got := compete(s, 1000*time.Second, map[string]int{"high": 6, "middle": 3, "low": 1})
		for name, want := range map[string]int{"high": 600, "middle": 300, "low": 100} {
			if n := got[name]; n < want-5 || n > want+5 {
				t.Errorf("%s got %d of 1000, want %d", name, n, want)
			}
		}
		if s.free != 1 || len(s.waiting) != 0 {
			t.Errorf("%d slots are free, %d wait", s.free, len(s.waiting))
		}
	})
}

// A topic that comes late does not make up for the time before, nor is it made to
// wait for it.
func TestLateTopicHasItsPartFromThenOn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &slots{free: 1}
		compete(s, 1000*time.Second, map[string]int{"early": 1})
		got := compete(s, 100*time.Second, map[string]int{"early": 1, "late": 1})
		if got["late"] < 45 || got["late"] > 55 {
			t.Errorf("%v", got)
		}
		old := newTurn(1)
		old.had = 5
		for range 20 {
			s.take(t.Context(), old)
			s.give()
		}
		if fresh := newTurn(1); !s.take(t.Context(), fresh) || fresh.had < old.had-1 {
			t.Errorf("a fresh topic has %v, one that was there %v", fresh.had, old.had)
		}
	})
}

// Who gives up waiting leaves no slot behind.
func TestSlotIsNotLostWithItsWaiter(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &slots{free: 1}
		s.take(t.Context(), newTurn(1))
		ctx, stop := context.WithCancel(t.Context())
		done := make(chan bool)
		go func() { done <- s.take(ctx, newTurn(1)) }()
		synctest.Wait()
		stop()
		if <-done {
			t.Error("a slot was given that is not there")
		}
		s.give()
		if s.free != 1 || !s.take(t.Context(), newTurn(1)) {
			t.Error("the slot is gone")
		}
	})
}
