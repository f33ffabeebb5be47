package spool_test

import (
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
