package spool_test

import (
	"time"

	"pgregory.net/rapid"

	"github.com/remora-mq/remora/message"
)

// beginTTL is called when h becomes pending for the first time.
func (m *model) beginTTL(h *held) {
	if h.draft.TTL > 0 {
		h.expires = m.clock.now().Add(h.draft.TTL)
		if h.timer.is { // it begins when it is due
			h.expires = h.expires.Add(max(h.until.Sub(m.wall.now()), 0))
		}
	}
}

// expire follows what has become a dead letter because its time is over. What is
// in flight is left alone, and so is all while the clock is not believed.
func (m *model) expire(t *rapid.T) {
	expired, dead := false, uint64(0)
	for _, h := range m.all {
		waits := h.state == message.StatePending || h.state == message.StateRetrying
		if waits && m.wall.believed() && !h.expires.IsZero() && !h.expires.After(m.clock.now()) {
			h.state, h.onHold, h.away, h.expires = message.StateDead, false, true, time.Time{}
			expired = true
		}
		if h.state == message.StateDead {
			dead++
		}
	}
	m.awaitDead(dead)
	if m.other != nil {
		m.other.awaitExpired()
	}
	if expired {
		m.synced()
	}
}

// awaitExpired waits until nothing is left that has expired.
func (r *rig) awaitExpired() {
	r.t.Helper()
	for began := time.Now(); r.Overdue(); time.Sleep(time.Millisecond) {
		if r.WakeDue(); time.Since(began) > time.Minute {
			r.t.Fatal("what has expired is no dead letter")
		}
	}
}
