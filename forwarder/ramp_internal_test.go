package forwarder

import (
	"context"
	"testing"
	"testing/synctest"
	"time"
)

// The ramp narrows when nothing is confirmed between failures and nothing else
// runs, and widens by one for each round of confirmations.
func TestRamp(t *testing.T) {
	r := newRamp(4)
	r.join()
	r.join()
	enter := func(n int) {
		for range n {
			if !r.enter(t.Context()) {
				t.Fatal("not allowed")
			}
		}
	}
	is := func(want int, what string) {
		t.Helper()
		if got := r.limit(); got != want {
			t.Errorf("%s: %d are allowed, want %d", what, got, want)
		}
	}
	enter(3)
	r.failed("a")
	r.failed("b")
	is(4, "others run, that may yet be confirmed")
	r.leave()
	r.leave()
	r.succeeded()
	r.failed("b")
	is(4, "one was confirmed before")
	r.failed("b")
	is(4, "one topic is stuck")
	r.failed("a")
	is(1, "the last of them failed, too")
	r.leave()
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

// Who gives up waiting keeps no room, and who waits gets it.
func TestRampIsWaitedFor(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRamp(2)
		r.join()
		r.failed("a")
		r.failed("a")
		r.enter(t.Context())
		ctx, stop := context.WithCancel(t.Context())
		gaveUp, entered := make(chan bool), make(chan bool)
		go func() { gaveUp <- r.enter(ctx) }()
		synctest.Wait()
		go func() { entered <- r.enter(t.Context()) }()
		synctest.Wait()
		stop()
		if <-gaveUp {
			t.Error("two are allowed")
		}
		r.leave()
		if !<-entered {
			t.Error("who waited was not allowed")
		}
		r.leave()
		if r.running != 0 || len(r.waiting) != 0 {
			t.Errorf("%d run, %d wait", r.running, len(r.waiting))
		}
	})
}

// Where there is one topic, its failure is the broker's.
func TestRampOfOneTopic(t *testing.T) {
	r := newRamp(4)
	r.join()
	r.failed("a")
	if r.limit() != 4 {
		t.Errorf("%d are allowed after one failure", r.limit())
	}
	if r.failed("a"); r.limit() != 1 {
		t.Errorf("%d are allowed", r.limit())
	}
}

// Who is next where all attempts are allowed is not for the ramp to decide: nobody
// waits for it.
func TestWideRampKeepsNobodyWaiting(t *testing.T) {
	r := newRamp(1)
	ctx, stop := context.WithTimeout(t.Context(), 10*time.Second)
	defer stop()
	for range 3 {
		if !r.enter(ctx) {
			t.Fatal("the ramp keeps an attempt waiting")
		}
	}
	if len(r.waiting) != 0 {
		t.Errorf("%d wait", len(r.waiting))
	}
}
