package ackgate

import (
	"errors"
	"testing"
	"time"

	"github.com/remora-mq/remora/dedupe"
	"github.com/remora-mq/remora/internal/backoff"
	"github.com/remora-mq/remora/push"
)

// A late ack counts as long as no other delivery has begun, wherever the message
// is meanwhile.
func TestLateAck(t *testing.T) {
	t.Run("while the broker refuses to take it back", func(t *testing.T) {
		bubble(t, func(s *scene) {
			s.answers = []push.Answer{failed, accepted(time.Minute)}
			s.backs = times(99, errFake)
			o := options()
			o.Retry = backoff.Policy{Initial: 20 * time.Minute} // sent back at once, and called again in 10 minutes at the earliest
			s.onCall(func(id string, n int) {
				if n == 2 {
					after(59*time.Second, func() { _ = s.leases.Nack(id, Nack{Delay: time.Hour}) })
					after(2*time.Minute, func() { s.ack(id) })
				}
			})
			s.start(o).run(24*time.Hour, delivery("a"))
			if n := s.count("call a"); n != 2 || s.count("ack by ID, late") != 1 || s.count("ack a") != 1 {
				t.Errorf("it went %v", s.events)
			}
			s.wantAcks(handled, 1)
			s.wantLeases("late", 1)
		})
	})
	t.Run("after it was sent back", func(t *testing.T) {
		bubble(t, func(s *scene) {
			s.answers = []push.Answer{accepted(time.Minute)}
			var first string
			s.onCall(func(id string, _ int) { first = id })
			s.run(time.Hour, delivery("a"))
			s.ack(first)
			s.ack(first)
			s.run(time.Hour, delivery("a")) // comes again, and is a repeat
			s.wantEvents("call a", "back a", "ack a", "done id:a", "ack by ID, late", "ack by ID, late", "repeat id:a", "ack a")
		})
	})
	t.Run("after a call that timed out", func(t *testing.T) {
		bubble(t, func(s *scene) {
			s.answers = []push.Answer{silent}
			s.onCall(func(id string, _ int) { after(400*time.Millisecond, func() { s.ack(id) }) })
			s.run(time.Hour, delivery("a"))
			s.wantAnyOrder("call a", "done id:a", "ack by ID, late", "ack a")
		})
	})
	t.Run("when another delivery has begun", func(t *testing.T) {
		bubble(t, func(s *scene) {
			s.answers = []push.Answer{accepted(time.Minute), accepted(time.Minute)}
			var first string
			s.onCall(func(id string, n int) {
				if n == 1 {
					first = id
					return
				}
				after(time.Second, func() { s.ack(first) })
				after(2*time.Second, func() { s.ack(id) })
			})
			s.run(time.Hour, delivery("a"))
			s.run(time.Hour, delivery("a"))
			s.wantAnyOrder("call a", "back a", "ack a", "call a", "ack by ID: "+ErrLeaseExpired.Error(), "done id:a", "ack by ID", "ack a")
		})
	})
	t.Run("that nobody can write down", func(t *testing.T) {
		bubble(t, func(s *scene) {
			s.answers = []push.Answer{accepted(time.Minute)}
			var first string
			s.onCall(func(id string, _ int) { first = id })
			s.run(time.Hour, delivery("a"))
			s.doneFail = 5
			if _, err := s.leases.Ack(s.t.Context(), first); !errors.Is(err, ErrNotRecorded) {
				t.Errorf("an ack that was not recorded: %v", err)
			}
			if late, err := s.leases.Ack(s.t.Context(), first); err != nil || !late {
				t.Errorf("the next one: late %v, %v", late, err)
			}
		})
	})
	t.Run("without a store, when another call has begun", func(t *testing.T) {
		bubble(t, func(s *scene) {
			s.noStore = true
			s.answers = []push.Answer{accepted(time.Minute), accepted(5 * time.Minute)}
			s.backs = []error{errFake}
			var first string
			s.onCall(func(id string, n int) {
				if n == 1 {
					first = id
					return
				}
				after(time.Second, func() { s.ack(first) })
				after(2*time.Second, func() { s.ack(id) })
			})
			s.run(time.Hour, delivery("a"))
			s.wantAnyOrder("call a", "back refused a", "call a", "ack by ID: "+ErrLeaseExpired.Error(), "ack by ID", "ack a")
		})
	})
	t.Run("without a store, after it was sent back", func(t *testing.T) {
		bubble(t, func(s *scene) {
			s.noStore = true
			s.answers = []push.Answer{accepted(time.Minute)}
			var first string
			s.onCall(func(id string, _ int) { first = id })
			s.run(time.Hour, delivery("a"))
			if _, err := s.leases.Ack(s.t.Context(), first); !errors.Is(err, ErrLeaseExpired) {
				t.Errorf("an ack that nobody will know of: %v", err)
			}
		})
	})
}

// The store is the one that knows of other sidecars.
func TestAckOfWhatAnotherSidecarHas(t *testing.T) {
	bubble(t, func(s *scene) {
		s.answers = []push.Answer{accepted(time.Minute)}
		s.onCall(func(id string, n int) {
			if n > 1 {
				return
			}
			after(30*time.Second, func() {
				s.mu.Lock()
				m := s.marks[dedupe.Key{Scope: "c/orders/billing", Key: "id:a"}]
				m.token, m.until = m.token+1000, time.Now().Add(10*time.Second)
				s.mu.Unlock()
				s.ack(id)
			})
		})
		s.run(time.Hour, delivery("a"))
		if s.count("ack by ID: "+ErrLeaseExpired.Error()) != 1 || s.count("call a") != 2 {
			t.Errorf("it went %v", s.events)
		}
		s.wantLeases("superseded", 1)
	})
}
