package spool_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/remora-mq/remora/message"
	"github.com/remora-mq/remora/spool"
)

func TestOldestIsWhatWaitsLongest(t *testing.T) {
	c := newClock()
	r := newRig(t, spool.Options{Now: c.now})
	if _, ok := r.Oldest(); ok {
		t.Fatal("an empty spool has an oldest message")
	}
	first := c.now()
	r.accept(draft("a", "first"))
	c.advance(time.Hour)
	second := c.now()
	r.accept(draft("b", "second"))
	if at, ok := r.Oldest(); !ok || !at.Equal(first) {
		t.Fatalf("%v %v, want %v", at, ok, first)
	}
	leases := r.lease("a", 1)
	if at, _ := r.Oldest(); !at.Equal(first) {
		t.Fatalf("a lease hides it: %v", at)
	}
	r.Confirm(leases, []message.Confirmation{{OffsetMessageID: "x"}})
	if at, ok := r.Oldest(); !ok || !at.Equal(second) {
		t.Fatalf("%v %v, want %v", at, ok, second)
	}
}

// oldest fails the test unless the message that waits longest has done so since
// then; zero: none waits.
func (r *rig) oldest(since time.Time) {
	r.t.Helper()
	if at, ok := r.Oldest(); ok != !since.IsZero() || !at.Equal(since) {
		r.t.Fatalf("the oldest waits since %v (%v), want %v", at, ok, since)
	}
}

// A message that was delayed waits since it was due, also when it was moved late,
// and after a restart.
func TestOldestOfDelayedMessages(t *testing.T) {
	v := &volume{}
	r, c := timed(t, spool.Options{Space: v})
	due := c.now().Add(time.Minute)
	r.accept(after(draft("t", "elapsed"), time.Minute), until(draft("u", "wall"), due.Add(time.Second)), after(draft("t", "later"), time.Hour))
	r.oldest(time.Time{})
	v.spent.Store(true)
	c.advance(10 * time.Minute)
	for began := time.Now(); time.Since(began) < time.Minute; time.Sleep(time.Millisecond) {
		if at, _ := r.Oldest(); at.Equal(due) { // else it is just being moved: it had not been looked at before
			break
		}
	}
	r.oldest(due) // it is kept back
	v.spent.Store(false)
	r.awaitDelayed(1)
	r.accept(draft("t", "not delayed"))
	r.oldest(due)
	r.reopen()
	r.oldest(time.Time{}) // nothing was read yet
	leases := r.lease("t", 1)
	r.oldest(due)
	r.confirm(leases)
	leases = r.lease("u", 1)
	r.oldest(due.Add(time.Second))
	r.confirm(leases)
	r.oldest(c.now())
	r.balanced()
}

// What is for a broker's timer does not wait before it is due, and waits since then.
// What is behind it does: also where it is on disk yet.
func TestOldestOfTimers(t *testing.T) {
	r, c, _ := withTimer(t)
	began := c.now()
	r.accept(after(draft("t", "x"), 50*time.Minute), after(draft("t", "y"), 30*time.Minute), after(draft("t", "z"), 40*time.Minute))
	r.oldest(time.Time{})
	c.advance(time.Minute)
	r.accept(draft("t", "at once"))
	r.oldest(began.Add(time.Minute))
	r.accept(after(bulky(draft("t", "bulky")), 45*time.Minute)) // whose time is in its payload
	leases := r.leaseSome("t", 5)
	for _, l := range leases[:3] {
		r.Postpone(l, began.Add(time.Hour), "no broker has a timer")
	}
	r.Retry(leases[4:], began.Add(time.Hour), message.OutcomeRetryable, "too far away")
	r.oldest(began.Add(time.Minute))
	r.confirm(leases[3:4])
	r.oldest(time.Time{})
	c.advance(50 * time.Minute)
	r.oldest(began.Add(30 * time.Minute))
}

// A window that is full of what is not due keeps back what is behind it.
func TestOldestBehindTimers(t *testing.T) {
	b := new(brokerTimer)
	b.ahead.Store(int64(time.Hour))
	r, c := timed(t, spool.Options{Timer: b.of, Window: 8 << 10})
	began := c.now()
	var all []spool.Draft
	for range 2048 {
		all = append(all, after(draft("t", strings.Repeat("x", 100)), time.Hour))
	}
	r.accept(all...)
	c.advance(time.Minute)
	r.accept(draft("t", "behind them"))
	r.reopen()
	r.Postpone(r.lease("t", 1)[0], began.Add(time.Hour), "no broker has a timer")
	if at, ok := r.Oldest(); !ok || at.Before(began) || at.After(began.Add(time.Minute)) {
		t.Errorf("the oldest waits since %v (%v), want from %v on", at, ok, began)
	}
}

// A dead letter does not count, and one that was redriven waits since then.
func TestOldestOfRedrivenMessages(t *testing.T) {
	c := newClock()
	r := newRig(t, spool.Options{Now: c.now})
	var ids []message.ID
	for range 3 {
		ids = append(ids, r.letter(draft("t", "x")))
	}
	c.advance(time.Hour)
	r.oldest(time.Time{})
	r.redrive(ids[2])
	redriven := c.now()
	c.advance(time.Hour)
	r.redrive(ids[0], ids[1])
	for _, how := range []func(){func() {}, func() { r.lease("t", 0) }, r.kill} {
		how()
		r.oldest(redriven)
	}
	r.putOnHold(ids[2])
	r.oldest(c.now())
	r.releaseHeld(ids[2])
	r.oldest(redriven)
	for range 3 {
		r.confirm(r.lease("t", 1))
	}
	r.oldest(time.Time{})
	r.flush()
	r.balanced()
}

// One that was redriven, and is for a broker's timer, waits since it is due.
func TestOldestOfRedrivenTimers(t *testing.T) {
	r, c, _ := withTimer(t)
	began := c.now()
	all := r.accept(after(draft("t", "x"), 50*time.Minute), after(bulky(draft("t", "y")), 30*time.Minute), draft("u", "z"))
	for _, l := range append(r.leaseSome("t", 2), r.lease("u", 1)...) {
		r.bury(l)
	}
	r.redrive(all[0].ID, all[1].ID)
	for _, l := range r.leaseSome("t", 2) {
		r.Postpone(l, began.Add(time.Hour), "no broker has a timer")
	}
	r.oldest(time.Time{})
	c.advance(10 * time.Minute)
	r.redrive(all[2].ID)
	r.oldest(began.Add(10 * time.Minute))
	c.advance(25 * time.Minute)
	r.oldest(began.Add(10 * time.Minute))
	r.confirm(r.lease("u", 1))
	r.oldest(began.Add(30 * time.Minute))
}

// Many that are for a timer are not looked at in one go, and what is behind them is found,
// wherever a part ends.
func TestOldestBehindManyTimers(t *testing.T) {
	for _, timers := range []int{255, 256, 257, 512, 600} {
		t.Run(fmt.Sprint(timers), func(t *testing.T) {
			r, c, _ := withTimer(t)
			began := c.now()
			r.accept(manyAfter(timers, 30*time.Minute)...)
			r.oldest(time.Time{})
			c.advance(time.Minute)
			r.accept(draft("t", "at once"))
			r.oldest(began.Add(time.Minute))
			c.advance(30 * time.Minute)
			r.accept(draft("t", "later"))
			r.oldest(began.Add(time.Minute))
			for _, l := range r.leaseSome("t", timers+1) {
				if l.TimerAt().IsZero() {
					r.confirm([]*spool.Lease{l})
				}
			}
			r.oldest(began.Add(30 * time.Minute))
		})
	}
}

func manyAfter(n int, wait time.Duration) (some []spool.Draft) {
	for range n {
		some = append(some, after(draft("t", "x"), wait))
	}
	return some
}
