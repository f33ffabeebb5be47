package ackgate

import (
	"testing"
	"time"

	"github.com/remora-mq/remora/internal/backoff"
	"github.com/remora-mq/remora/push"
)

// TestWhatWaitsLeavesItsPlace: whatever messages wait for, as many as calls are
// allowed, another one is called at once.
func TestWhatWaitsLeavesItsPlace(t *testing.T) {
	asked, retried, rejection := busy(15*time.Second), failed, rejected
	for _, tt := range []struct {
		name   string
		answer *push.Answer // to a and b
		backs  []error
		retry  time.Duration
	}{
		{name: "for the time that its handler asked for", answer: &asked},
		{name: "for a retry", answer: &retried, retry: 5 * time.Second},
		{name: "for a mark of a process that is gone"},
		{name: "for a broker that takes nothing back", answer: &retried, retry: time.Minute, backs: times(1000, errFake)},
		{name: "for a broker that takes no dead letter", answer: &rejection, backs: times(1000, errFake)},
	} {
		t.Run(tt.name, func(t *testing.T) {
			bubble(t, func(s *scene) {
				o := options()
				o.Concurrency = 2
				if tt.retry > 0 {
					o.Retry = backoff.Policy{Initial: tt.retry}
				}
				s.backs = tt.backs
				s.verdict = func(c *push.Call) *push.Answer {
					if c.Delivery.Identity == "c" {
						return nil
					}
					return tt.answer
				}
				if tt.answer == nil {
					for _, id := range []string{"a", "b"} {
						s.marks[KeyRule{}.of(o.Scope, delivery(id))] = &fakeMark{held: true, until: time.Now().Add(time.Minute), attempts: 1}
					}
				}
				s.start(o)
				after(time.Second, func() {
					if !s.happened("ack c") || s.happened("ack a") || s.happened("ack b") {
						t.Errorf("after a second: %v", s.events)
					}
				})
				s.run(2*time.Second, delivery("a"), delivery("b"), delivery("c"))
			})
		})
	}
}
