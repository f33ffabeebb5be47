package ackgate

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus/testutil"

	"github.com/remora-mq/remora/internal/backoff"
	"github.com/remora-mq/remora/message"
)

// pull asks for messages and notes what it got.
func (s *scene) pull(p Pull) []Pulled {
	all, err := s.leases.Receive(s.t.Context(), "billing", p)
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, one := range all {
		s.note("pulled %s, attempt %d", one.Delivery.Identity, one.Attempt)
	}
	if err != nil {
		s.note("pull: %v", err)
	}
	return all
}

func deliveries(n int) (all []*message.Delivery) {
	for i := range n {
		all = append(all, delivery(fmt.Sprint("m", i)))
	}
	return all
}

func pulling(t *testing.T, test func(s *scene)) {
	t.Helper()
	bubble(t, func(s *scene) {
		s.pulls = true
		test(s)
	})
}

func TestPulledMessageIsAckedByItsID(t *testing.T) {
	pulling(t, func(s *scene) {
		s.start(options())
		after(time.Minute, func() {
			got := s.pull(Pull{Max: 1, Lease: 5 * time.Minute})
			if len(got) != 1 || time.Until(got[0].ExpiresAt) != 5*time.Minute || got[0].State != "leased" || got[0].MaxAttempts != 16 {
				t.Errorf("pulled %+v", got)
				return
			}
			time.Sleep(4 * time.Minute)
			if s.happened("ack a") {
				t.Error("acked without a word")
			}
			s.ack(got[0].ID)
		})
		s.run(time.Hour, delivery("a"))
		s.wantAnyOrder("pulled a, attempt 1", "done id:a", "ack by ID", "ack a")
		s.wantAcks(handled, 1)
	})
}

// What nobody pulls costs no attempt, and no mark.
func TestNothingHappensUntilItIsPulled(t *testing.T) {
	pulling(t, func(s *scene) {
		s.run(24*time.Hour, delivery("a"))
		s.wantEvents()
		if len(s.marks) > 0 {
			t.Errorf("marked: %v", s.marks)
		}
	})
}

func TestBatchesAndWaits(t *testing.T) {
	pulling(t, func(s *scene) {
		s.start(options())
		began := time.Now()
		if got := s.pull(Pull{Max: 10, Wait: 20 * time.Second, Lease: time.Minute}); len(got) > 0 || time.Since(began) != 20*time.Second {
			t.Errorf("%d messages after %v", len(got), time.Since(began))
		}
		after(time.Second, func() {
			for i, want := range []int{3, 2, 0} {
				if got := s.pull(Pull{Max: 3, Lease: time.Hour}); len(got) != want {
					t.Errorf("pull %d: %d messages, want %d", i, len(got), want)
				}
			}
		})
		s.run(time.Minute, deliveries(5)...)
	})
}

// Who waits gets the first message to come, at once, and not more than has come.
func TestWaitEndsWithTheFirst(t *testing.T) {
	pulling(t, func(s *scene) {
		s.start(options())
		began := time.Now()
		after(0, func() {
			got := s.pull(Pull{Max: 9, Wait: time.Hour, Lease: time.Minute})
			if len(got) != 1 || time.Since(began) != time.Minute {
				t.Errorf("%d messages after %v", len(got), time.Since(began))
			}
		})
		time.Sleep(time.Minute)
		s.run(10*time.Second, delivery("a"))
	})
}

// A lease that ends is a failed attempt: it comes again after a wait, and in the
// end is a dead letter.
func TestPulledLeaseThatEndsIsAnAttempt(t *testing.T) {
	pulling(t, func(s *scene) {
		o := options()
		o.MaxAttempts, o.Retry = 3, backoff.Policy{Initial: time.Second}
		s.start(o)
		var first string
		after(time.Second, func() {
			for range 3 {
				got := s.pull(Pull{Max: 1, Wait: time.Minute, Lease: 10 * time.Second})
				if first == "" {
					first = got[0].ID
				}
				time.Sleep(10 * time.Second)
			}
			s.ack(first)
		})
		s.run(time.Hour, delivery("a"))
		s.wantAnyOrder("pulled a, attempt 1", "pulled a, attempt 2", "pulled a, attempt 3", "dead a", "ack a", "ack by ID: "+ErrLeaseExpired.Error())
		s.wantLeases("expired", 3)
	})
}

func TestStopEndsTheWait(t *testing.T) {
	pulling(t, func(s *scene) {
		s.start(options())
		began := time.Now()
		after(time.Second, func() {
			s.pull(Pull{Max: 2, Lease: time.Hour})
			s.pull(Pull{Max: 1, Wait: time.Hour, Lease: time.Minute})
			if waited := time.Since(began); waited != time.Minute {
				t.Errorf("waited for %v, the subscription ended after a minute", waited)
			}
		})
		s.run(time.Minute, delivery("a"))
		s.pull(Pull{Max: 1, Wait: time.Hour, Lease: time.Minute})
		s.wantEvents("pulled a, attempt 1", "pull: "+ErrStopping.Error(), "pull: "+ErrStopping.Error())
	})
}

// The caller may go away while it waits: then it gets nothing, and the next one
// does.
func TestCallerThatGoesAwayGetsNothing(t *testing.T) {
	pulling(t, func(s *scene) {
		s.start(options())
		ctx, leave := context.WithTimeout(s.t.Context(), 10*time.Second)
		defer leave()
		if got, err := s.leases.Receive(ctx, "billing", Pull{Max: 1, Wait: time.Hour, Lease: time.Hour}); len(got) > 0 || err != nil {
			t.Errorf("%v, %v", got, err)
		}
		after(time.Second, func() { s.ack(s.pull(Pull{Max: 1, Lease: time.Minute})[0].ID) })
		s.run(time.Hour, delivery("a"))
		s.wantAcks(handled, 1)
	})
}

func TestRepeatIsNotHandedOver(t *testing.T) {
	pulling(t, func(s *scene) {
		s.start(options())
		after(time.Second, func() { s.ack(s.pull(Pull{Max: 9, Lease: time.Minute})[0].ID) })
		s.run(time.Minute, delivery("a"))
		after(time.Second, func() {
			if got := s.pull(Pull{Max: 9, Wait: 5 * time.Second, Lease: time.Minute}); len(got) != 1 || got[0].Delivery.Identity != "b" {
				t.Errorf("pulled %+v", got)
			}
		})
		s.run(time.Minute, delivery("a"), delivery("b"))
		s.wantAcks(repeat, 1)
	})
}

func TestAnswersAreBoundedInBytes(t *testing.T) {
	pulling(t, func(s *scene) {
		s.start(options())
		ds := deliveries(4)
		for _, d := range ds[:3] {
			d.Body = make([]byte, maxPulled*3/5)
		}
		ds[3].Body = make([]byte, maxPulled+1)
		after(time.Second, func() {
			for total := 0; total < 4; {
				got, bytes := s.pull(Pull{Max: 10, Wait: time.Second, Lease: time.Hour}), 0
				for _, one := range got {
					bytes += len(one.Delivery.Body)
				}
				if len(got) == 0 || len(got) > 1 && bytes > maxPulled {
					t.Errorf("%d messages of %d bytes", len(got), bytes)
					return
				}
				total += len(got)
			}
		})
		s.run(time.Minute, ds...)
	})
}

func TestPulledMessagesOfAQueueAreBounded(t *testing.T) {
	pulling(t, func(s *scene) {
		s.start(options())
		after(time.Second, func() {
			got := s.pull(Pull{Max: 100, Lease: time.Minute})
			if len(got) != 16 {
				t.Errorf("%d messages of a queue are leased", len(got))
			}
			s.ack(got[0].ID)
			synctest.Wait()
			if more := s.pull(Pull{Max: 100, Lease: time.Minute}); len(more) != 1 {
				t.Errorf("%d more after one was acked", len(more))
			}
			synctest.Wait()
			if n := testutil.ToFloat64(s.gate.metrics.leased.WithLabelValues("billing")); n != 16 {
				t.Errorf("%v leased", n)
			}
		})
		s.run(30*time.Second, deliveries(30)...)
	})
}

func TestStoreThatFailsHandsNothingOver(t *testing.T) {
	pulling(t, func(s *scene) {
		s.faults = []error{errFake}
		s.start(options())
		after(time.Second, func() {
			if got := s.pull(Pull{Max: 1, Lease: time.Minute}); len(got) > 0 {
				t.Errorf("pulled %+v", got)
			}
			s.ack(s.pull(Pull{Max: 1, Wait: time.Minute, Lease: time.Minute})[0].ID)
		})
		s.run(time.Hour, delivery("a"))
		s.wantAcks(handled, 1)
	})
}

func TestReceiveNamesWhatIsWrong(t *testing.T) {
	bubble(t, func(s *scene) {
		l := NewLeases()
		s.leases = l
		if _, err := l.Receive(s.t.Context(), "billing", Pull{Max: 1}); !errors.Is(err, ErrStarting) {
			t.Errorf("while it starts: %v", err)
		}
		s.start(options())
		l.Ready()
		if _, err := l.Receive(s.t.Context(), "billing", Pull{Max: 1}); !errors.Is(err, ErrPushed) {
			t.Errorf("with a handler: %v", err)
		}
		if _, err := l.Receive(s.t.Context(), "bills", Pull{Max: 1}); !errors.Is(err, ErrUnknownSubscription) {
			t.Errorf("of no subscription: %v", err)
		}
	})
}

// Nothing is handed to who has hung up, though it still stands in line.
func TestNothingIsLeasedToWhoHasHungUp(t *testing.T) {
	pulling(t, func(s *scene) {
		o := options()
		o.MaxAttempts = 2
		s.start(o)
		after(time.Second, func() {
			for range 3 {
				gone := Pull{Max: 1, Wait: time.Minute, Lease: time.Hour, Gone: func() bool { return true }}
				if got := s.pull(gone); len(got) > 0 {
					t.Errorf("pulled %+v", got)
				}
			}
			s.ack(s.pull(Pull{Max: 1, Wait: time.Minute, Lease: time.Minute})[0].ID)
		})
		s.run(time.Hour, delivery("a"))
		s.wantAnyOrder("pulled a, attempt 1", "done id:a", "ack by ID", "ack a")
	})
}

// TestReceiveEndsForWhoHasHungUp: who is gone is offered none of many messages that
// wait, again and again.
func TestReceiveEndsForWhoHasHungUp(t *testing.T) {
	pulling(t, func(s *scene) {
		s.start(options())
		after(time.Second, func() {
			asked := 0
			gone := Pull{Max: 1, Wait: time.Minute, Lease: time.Hour, Gone: func() bool {
				asked++ // of one message at a time
				return asked < 1000
			}}
			if got := s.pull(gone); len(got) > 0 || asked > 10 {
				t.Errorf("pulled %d messages; whether the caller is there was asked %d times", len(got), asked)
			}
		})
		s.run(time.Minute, deliveries(40)...)
	})
}

// What is taken back is handed over at once, and has cost nothing.
func TestTakenBackIsPulledAgain(t *testing.T) {
	for name, noStore := range map[string]bool{"with a store": false, "without": true} {
		t.Run(name, func(t *testing.T) {
			pulling(t, func(s *scene) {
				s.noStore = noStore
				o := options()
				o.MaxAttempts = 2
				s.start(o)
				after(time.Second, func() {
					began := time.Now()
					var id string
					for range 4 {
						id = s.pull(Pull{Max: 1, Wait: time.Minute, Lease: 10 * time.Minute})[0].ID
						s.leases.TakeBack(id)
					}
					if took := time.Since(began); took > 0 {
						t.Errorf("it took %v", took)
					}
					s.ack(id) // it was told all the same
					s.leases.TakeBack(id)
					s.leases.TakeBack("x-1")
				})
				s.run(time.Hour, delivery("a"))
				if s.count("pulled a, attempt 1") != 4 || s.count("ack by ID, late") != 1 || s.count("ack a") != 1 {
					t.Errorf("it went %v", s.events)
				}
				s.wantLeases("untold", 4)
			})
		})
	}
}

// TestReceiveGetsWhatIsThere: what the consumer has in hand is handed over, however
// few calls are allowed: a pull is none.
func TestReceiveGetsWhatIsThere(t *testing.T) {
	pulling(t, func(s *scene) {
		o := options()
		o.Concurrency = 1
		s.start(o)
		after(time.Second, func() {
			for i, want := range []int{10, 6} { // max, then max_held
				if got := s.pull(Pull{Max: 10, Lease: time.Hour}); len(got) != want {
					t.Errorf("pull %d: %d messages, want %d", i, len(got), want)
				}
			}
		})
		s.run(time.Minute, deliveries(20)...)
	})
}

// TestFullQueueTakesNoPlaces: where one queue has as many leases as it may, the places
// that its messages cannot use go to those of another one.
func TestFullQueueTakesNoPlaces(t *testing.T) {
	pulling(t, func(s *scene) {
		ds := deliveries(50)
		for _, d := range ds[40:] {
			d.Queue = "broker-a/1"
		}
		s.start(options())
		after(time.Second, func() {
			if got := s.pull(Pull{Max: 26, Lease: time.Hour}); len(got) != 16+10 {
				t.Errorf("%d messages of two queues, want 16 and 10", len(got))
			}
		})
		s.run(time.Minute, ds...)
	})
}

// TestNothingPulledBecauseAllIsLeased: who gets nothing is told that messages wait for
// leases to end.
func TestNothingPulledBecauseAllIsLeased(t *testing.T) {
	pulling(t, func(s *scene) {
		s.start(options())
		after(time.Second, func() {
			if why := s.leases.HeldUp("billing"); len(why) > 0 {
				t.Errorf("before the first lease: %v", why)
			}
			got := s.pull(Pull{Max: 100, Lease: time.Hour})
			if none := s.pull(Pull{Max: 1, Wait: time.Second, Lease: time.Hour}); len(none) > 0 {
				t.Errorf("pulled %v", none)
			}
			if why := s.leases.HeldUp("billing"); len(why) != 1 || why[0].Cause != AllLeased {
				t.Errorf("with %d leases: %v", len(got), why)
			}
			s.ack(got[0].ID)
			synctest.Wait()
			if why := s.leases.HeldUp("billing"); len(why) > 0 {
				t.Errorf("after an ack: %v", why)
			}
		})
		s.run(time.Minute, deliveries(17)...)
	})
}
