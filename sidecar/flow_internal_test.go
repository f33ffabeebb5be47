package sidecar

import (
	"testing"
	"time"

	"github.com/remora-mq/remora/spool"
)

// What waits is gone when it has become less at the rate of the last seconds, and
// nobody can say while it grows.
func TestFlow(t *testing.T) {
	var f flow
	now, n := time.Unix(0, 0), spool.Counts{}
	pass := func(seconds int, accepted, confirmed uint64) Flow {
		for range seconds {
			now = now.Add(time.Second)
			n.Accepted += accepted
			n.Confirmed += confirmed
			n.InSpool.Pending = n.Accepted - n.Confirmed
			f.observe(now, n)
		}
		return f.tell(n.InSpool.Pending)
	}
	pass(1, 0, 0)
	if got := pass(60, 100, 0); got.Accepted != 100 || got.Confirmed != 0 || got.DrainedIn != nil {
		t.Errorf("an outage: %+v", got)
	}
	if got := pass(40, 100, 150); got.Confirmed != 150 || got.DrainedIn == nil || *got.DrainedIn < 78 || *got.DrainedIn > 84 {
		t.Errorf("4,000 wait, and 50 a second become less: %+v, %v", got, got.DrainedIn)
	}
	if got := pass(60, 0, 0); got.Accepted != 0 || got.Confirmed != 0 || got.DrainedIn != nil {
		t.Errorf("nothing moves: %+v", got)
	}
	if got := f.tell(0); got.DrainedIn == nil || *got.DrainedIn != 0 {
		t.Errorf("nothing waits: %+v", got)
	}
}
