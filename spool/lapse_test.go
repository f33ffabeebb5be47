package spool

import (
	"testing"
	"time"

	"github.com/remora-mq/remora/message"
)

// The lease that would end first may be over before: those behind it are still
// found at their time, and not before.
func TestEachLeaseLapsesAtItsTime(t *testing.T) {
	s := &Spool{opts: Options{LeaseFor: time.Minute}}
	l := newLane(1, "t")
	w := &l.window
	began := time.Now()
	lease := func(seq uint64, after time.Duration) *entry {
		e := &entry{msg: &message.Message{Seq: seq}, lane: l, state: message.StatePending}
		w.add(e)
		s.lease(e, began.Add(after))
		return e
	}
	first := lease(1, 0)
	lease(2, 20*time.Second)
	lease(3, 10*time.Second)
	w.remove(first)

	expect := func(after time.Duration, leased int, next time.Duration) {
		t.Helper()
		now := began.Add(after)
		w.wakeDue(now)
		at := w.nextDue()
		switch {
		case len(w.leased) != leased:
			t.Errorf("after %s %d are leased, want %d", after, len(w.leased), leased)
		case leased == 0 && at != nil:
			t.Errorf("after %s something is due at %s", after, at.Sub(began))
		case leased > 0 && (at == nil || at.After(began.Add(next)) || !at.After(now)):
			t.Errorf("after %s the next is due at %v, want %s", after, at, next)
		}
	}
	expect(59*time.Second, 2, 70*time.Second)
	expect(60*time.Second, 2, 70*time.Second)
	expect(70*time.Second, 1, 80*time.Second)
	lease(4, 71*time.Second)
	expect(79*time.Second, 2, 80*time.Second)
	expect(80*time.Second, 1, 131*time.Second)
	lease(6, 65*time.Second) // the clock was set back
	expect(124*time.Second, 2, 125*time.Second)
	expect(125*time.Second, 1, 131*time.Second)
	expect(131*time.Second, 0, 0)
	lease(5, 140*time.Second)
	expect(199*time.Second, 1, 200*time.Second)
	expect(200*time.Second, 0, 0)
}
