package spool_test

import (
	"testing"
	"time"

	"github.com/remora-mq/remora/spool"
)

// A move writes bodies again. Without room for that it waits, and the message with
// it.
func TestDueMessagesWaitForRoom(t *testing.T) {
	v := &volume{}
	r, c := timed(t, spool.Options{Space: v})
	r.accept(after(draft("t", "x"), time.Minute))
	v.spent.Store(true)
	c.advance(time.Hour)
	for began := time.Now(); v.asked.Load() < 2; time.Sleep(time.Millisecond) { // the first answer has been heard by then
		if r.WakeDue(); time.Since(began) > time.Minute {
			t.Fatal("nobody asked for room")
		}
	}
	if n := r.Ledger().Total.InSpool; n.Delayed != 1 || n.Pending != 0 {
		t.Fatalf("%+v", n)
	}
	v.spent.Store(false)
	r.pass(c, 0, 0)
}
