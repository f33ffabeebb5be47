package ackgate

import (
	"context"
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
	t.Run("after a call that panicked, and a stop", func(t *testing.T) {
		bubble(t, func(s *scene) {
			s.boom = 1
			var first string
			s.onCall(func(id string, _ int) { first = id })
			s.run(time.Millisecond, delivery("a"))
			s.ack(first)
			s.wantEvents("call a", "done id:a", "ack by ID, late")
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
			s.doneFail = 1000
			if _, err := s.leases.Ack(s.t.Context(), first); !errors.Is(err, ErrNotRecorded) {
				t.Errorf("an ack that was not recorded: %v", err)
			}
			s.doneFail = 0
			if late, err := s.leases.Ack(s.t.Context(), first); err != nil || !late {
				t.Errorf("the next one: late %v, %v", late, err)
			}
		})
	})
	t.Run("without a store, while its next call waits for a slot", func(t *testing.T) {
		bubble(t, func(s *scene) {
			s.noStore = true
			s.answers = []push.Answer{failed}
			s.during = func(c *push.Call) {
				if c.Delivery.Identity == "b" {
					time.Sleep(20 * time.Second)
					return
				}
				after(10*time.Second, func() { s.ack(c.ID) })
			}
			o := options()
			o.Concurrency = 1
			s.start(o).run(time.Hour, delivery("a"), delivery("b"))
			s.wantAnyOrder("call a", "call b", "ack by ID, late", "200 b", "ack b", "ack a")
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

// lateBy is a call that came to its time, and is answered so after that.
func lateBy(d time.Duration, a push.Answer) push.Answer {
	timedOut := silent
	timedOut.Late = func(ctx context.Context) push.Answer {
		if err := sleepUnless(ctx, d, nil); err != nil {
			return push.Answer{Err: err}
		}
		return a
	}
	return timedOut
}

var ok = push.Answer{Disposition: push.Done, Status: 200}

// A 200 that comes after the call's time counts like a late ack.
func TestLate200(t *testing.T) {
	t.Run("before the next call", func(t *testing.T) {
		bubble(t, func(s *scene) {
			s.answers = []push.Answer{lateBy(400*time.Millisecond, ok)}
			s.run(time.Hour, delivery("a"))
			s.wantEvents("call a", "done id:a", "ack a")
			s.wantAcks(handled, 1)
			s.wantLeases("late", 1)
		})
	})
	t.Run("after it was sent back", func(t *testing.T) {
		bubble(t, func(s *scene) {
			s.verdict = func(call *push.Call) *push.Answer {
				answer := lateBy(5*time.Minute, ok)
				if call.Delivery.Identity == "b" { // which keeps the gate running
					answer = accepted(9 * time.Minute)
				}
				return &answer
			}
			o := options()
			o.Retry = backoff.Policy{Initial: 20 * time.Minute}
			s.start(o).run(time.Hour, delivery("a"), delivery("b"))
			s.run(time.Hour, delivery("a"))
			if s.count("call a") != 1 || s.count("back a") != 1 || s.count("done id:a") != 1 || s.count("repeat id:a") != 1 {
				t.Errorf("it went %v", s.events)
			}
		})
	})
	t.Run("after the next call has begun", func(t *testing.T) {
		bubble(t, func(s *scene) {
			s.answers = []push.Answer{lateBy(5*time.Second, ok), failed}
			s.run(time.Hour, delivery("a"))
			if n := s.count("call a"); n != 3 || s.count("done id:a") != 1 {
				t.Errorf("it went %v", s.events)
			}
			s.wantLeases("late", 0)
		})
	})
	t.Run("and is none", func(t *testing.T) {
		bubble(t, func(s *scene) {
			s.answers = []push.Answer{lateBy(100*time.Millisecond, failed)}
			s.run(time.Hour, delivery("a"))
			if n := s.count("call a"); n != 2 || s.count("ack a") != 1 {
				t.Errorf("it went %v", s.events)
			}
		})
	})
	t.Run("after MaxHold", func(t *testing.T) {
		bubble(t, func(s *scene) {
			s.backs = times(99, errFake) // it stays here
			s.answers = []push.Answer{lateBy(11*time.Minute, ok)}
			o := options()
			o.Retry = backoff.Policy{Initial: 60 * time.Minute}
			s.start(o).run(25*time.Minute, delivery("a"))
			if s.count("call a") != 1 || s.count("done id:a") != 0 {
				t.Errorf("it went %v", s.events)
			}
		})
	})
	t.Run("without a store, after it was sent back: nobody listens", func(t *testing.T) {
		bubble(t, func(s *scene) {
			s.noStore = true
			listen := -1
			s.verdict = func(call *push.Call) *push.Answer {
				answer := lateBy(5*time.Minute, ok)
				if call.Delivery.Identity == "b" { // which keeps the gate running
					answer = accepted(9 * time.Minute)
					after(time.Minute, func() { listen = len(s.gate.late.places) })
				}
				return &answer
			}
			o := options()
			o.Retry = backoff.Policy{Initial: 20 * time.Minute}
			s.start(o).run(time.Hour, delivery("a"), delivery("b"))
			if s.count("back a") != 1 || listen != 0 {
				t.Errorf("%d listen, it went %v", listen, s.events)
			}
		})
	})
	t.Run("of more calls than listen", func(t *testing.T) {
		bubble(t, func(s *scene) {
			o := options()
			o.Concurrency, o.Retry = 1, backoff.Policy{Initial: 20 * time.Minute}
			s.answers = []push.Answer{lateBy(time.Minute, ok), silent}
			s.start(o).run(time.Hour, delivery("a"), delivery("b"))
			if len(s.calls) != 2 || !s.calls[0].MayBeLate || s.calls[1].MayBeLate {
				t.Errorf("calls %+v", s.calls)
			}
			if n := len(s.gate.late.places); n != 0 {
				t.Errorf("%d places are taken in the end", n)
			}
		})
	})
}
