package ackgate

import (
	"errors"
	"testing"
	"time"

	"github.com/remora-mq/remora/internal/backoff"
	"github.com/remora-mq/remora/push"
)

// A handler that failed, and then is done after all, is not called again: its ack by
// the ID counts until the next call begins, and is told the truth after that.
func TestAckAfterAFailedAnswer(t *testing.T) {
	answers := map[string]push.Answer{
		"500": failed,
		"429": {Disposition: push.Wait, Status: 429, RetryAfter: 8 * time.Second, Err: errFake},
	}
	for name, answer := range answers {
		for kind, noStore := range map[string]bool{"with a store": false, "without": true} {
			t.Run(name+" "+kind+", before the next call", func(t *testing.T) {
				bubble(t, func(s *scene) {
					s.noStore, s.answers = noStore, []push.Answer{answer}
					s.onCall(func(id string, _ int) { after(time.Second, func() { s.ack(id) }) })
					o := options()
					o.Retry = backoff.Policy{Initial: 8 * time.Second}
					s.start(o).run(time.Hour, delivery("a"))
					if s.count("call a") != 1 || s.count("ack by ID, late") != 1 || s.count("ack a") != 1 {
						t.Errorf("it went %v", s.events)
					}
					s.wantAcks(handled, 1)
				})
			})
			t.Run(name+" "+kind+", after the next call", func(t *testing.T) {
				bubble(t, func(s *scene) {
					s.noStore, s.answers = noStore, []push.Answer{answer, answer}
					var first string
					s.onCall(func(id string, n int) {
						if n == 1 {
							first = id
						}
					})
					o := options()
					o.Retry = backoff.Policy{Initial: 8 * time.Second}
					s.start(o).run(time.Hour, delivery("a"))
					if _, err := s.leases.Ack(t.Context(), first); !errors.Is(err, ErrLeaseExpired) {
						t.Errorf("told %v", err)
					}
					if n := len(s.leases.ended[apart]); n != 2 {
						t.Errorf("%d are known apart", n)
					}
				})
			})
		}
	}
}
