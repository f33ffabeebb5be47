package local

import (
	"sync/atomic"
	"testing"
	"time"

	"github.com/remora-mq/remora/dedupe"
)

// TestSlowBeginHasAWholeLease: from when it returns, as its caller begins to work then. Of
// the lease that was written, a disk that hung has taken the most.
func TestSlowBeginHasAWholeLease(t *testing.T) {
	for name, journaled := range map[string]bool{"in a commit": false, "in the journal": true} {
		t.Run(name, func(t *testing.T) {
			h := newHouse(t, time.Hour)
			if journaled {
				h.keepJournal()
				begin(t, h.store, "the first one, with which a bucket begins")
			}
			h.close()
			var hangs atomic.Bool // after the clock is read the next time: when the mark is written
			h.o.Clock = func() time.Duration {
				now := h.time.Load()
				if hangs.CompareAndSwap(true, false) {
					h.pass(50 * time.Second)
				}
				return time.Duration(now)
			}
			h.open()
			<-h.store.learned
			h.wrote.Store(0)
			hangs.Store(true)
			m := begin(t, h.store, "a")
			if left := time.Until(m.Until); m.Verdict != dedupe.Begun || hangs.Load() || left < 50*time.Second {
				t.Errorf("%v, %v of the lease are left", m.Verdict, left)
			}
			h.pass(50 * time.Second)
			if other := begin(t, h.store, "a"); other.Verdict != dedupe.InProgress {
				t.Errorf("to another: %v, while the lease goes on", other.Verdict)
			}
		})
	}
}
