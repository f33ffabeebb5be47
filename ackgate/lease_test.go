package ackgate

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus/testutil"

	"github.com/remora-mq/remora/dedupe"
	"github.com/remora-mq/remora/message"
	"github.com/remora-mq/remora/push"
)

func accepted(lease time.Duration) push.Answer {
	return push.Answer{Disposition: push.Leased, Status: 202, Lease: lease}
}

var silent = push.Answer{Err: context.DeadlineExceeded}

// after does something d from now, while the scene runs.
func after(d time.Duration, do func()) {
	go func() {
		time.Sleep(d)
		do()
	}()
}

// onCall runs in each call of the handler, with its ID and its number from 1.
func (s *scene) onCall(do func(id string, n int)) {
	n := 0
	s.during = func(c *push.Call) {
		n++
		do(c.ID, n)
	}
}

// says notes what the application says of a delivery, and what it was told.
func (s *scene) says(what string, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if err != nil {
		what += ": " + err.Error()
	}
	s.note("%s", what)
}

func (s *scene) ack(id string) {
	late, err := s.leases.Ack(s.t.Context(), id)
	if late {
		s.says("ack by ID, late", err)
		return
	}
	s.says("ack by ID", err)
}

func (s *scene) wantLeases(result string, n int) {
	s.t.Helper()
	if got := testutil.ToFloat64(s.gate.metrics.leases.WithLabelValues("billing", result)); got != float64(n) {
		s.t.Errorf("%v leases %s, want %d", got, result, n)
	}
}

func TestLeasedMessageIsAckedByItsID(t *testing.T) {
	for name, noStore := range map[string]bool{"with a store": false, "without": true} {
		t.Run(name, func(t *testing.T) {
			bubble(t, func(s *scene) {
				s.noStore = noStore
				s.answers = []push.Answer{accepted(5 * time.Minute)}
				s.onCall(func(id string, _ int) {
					after(4*time.Minute, func() {
						if s.happened("ack a") {
							t.Error("acked before the application said so")
						}
						s.ack(id)
						s.ack(id) // again is the same
					})
				})
				s.run(time.Hour, delivery("a"))
				want := []string{"call a", "done id:a", "ack by ID", "ack by ID", "ack a"}
				if noStore {
					want = []string{"call a", "ack by ID", "ack by ID", "ack a"}
				}
				s.wantAnyOrder(want...)
				s.wantAcks(handled, 1)
				s.wantLeases("acked", 1)
			})
		})
	}
}

// wantAnyOrder is for what two goroutines note.
func (s *scene) wantAnyOrder(want ...string) {
	s.t.Helper()
	synctest.Wait()
	if len(s.events) != len(want) {
		s.wantEvents(want...)
	}
	for _, e := range want {
		if s.count(e) == 0 {
			s.wantEvents(want...)
			return
		}
	}
}

func TestNoAckWithoutAWord(t *testing.T) {
	bubble(t, func(s *scene) {
		s.answers = []push.Answer{accepted(0)}
		s.run(9*time.Minute, delivery("a"))
		s.wantEvents("call a")
	})
}

// A lease that ends is sent back, and costs no attempt, however often.
func TestLeaseThatEndsIsSentBackAndCostsNoAttempt(t *testing.T) {
	for name, noStore := range map[string]bool{"with a store": false, "without": true} {
		t.Run(name, func(t *testing.T) {
			bubble(t, func(s *scene) {
				s.noStore = noStore
				s.answers = times(4, accepted(time.Minute))
				s.answers[3] = failed
				s.start(options())
				began := time.Now()
				for round := 1; round <= 3; round++ {
					d := delivery("a")
					d.Attempt = round // as the broker counts
					s.run(time.Hour, d)
				}
				if took := time.Since(began); took != 3*time.Minute {
					t.Errorf("three leases of a minute took %v", took)
				}
				s.wantEvents("call a", "back a", "ack a", "call a", "back a", "ack a", "call a", "back a", "ack a")
				d := delivery("a")
				d.Attempt = 4
				s.run(time.Hour, d)
				s.wantAttempts(1, 1, 1, 1, 2)
				s.wantAcks(sentBack, 3)
				s.wantLeases("expired", 3)
			})
		})
	}
}

func TestMaxHoldBoundsALease(t *testing.T) {
	bubble(t, func(s *scene) {
		s.answers = []push.Answer{accepted(100 * time.Hour)}
		o := options()
		o.MaxHold = 7 * time.Minute
		began := time.Now()
		s.onCall(func(id string, _ int) {
			after(6*time.Minute, func() {
				l, err := s.leases.Extend(s.t.Context(), id, 5*time.Minute)
				if left := l.ExpiresAt.Sub(began); err != nil || left != 7*time.Minute {
					t.Errorf("extended to %v after the start, %v; want 7m", left, err)
				}
			})
		})
		s.start(o).run(time.Hour, delivery("a"))
		if took := time.Since(began); took != 7*time.Minute {
			t.Errorf("held for %v", took)
		}
		s.wantEvents("call a", "back a", "ack a")
	})
}

// The mark is held as long as the lease, and a margin: nobody else is given the
// message meanwhile.
func TestMarkIsExtendedWithTheLease(t *testing.T) {
	bubble(t, func(s *scene) {
		s.answers = []push.Answer{accepted(2 * time.Minute)}
		key := dedupe.Key{Scope: "c/orders/billing", Key: "id:a"}
		until := func() time.Duration {
			s.mu.Lock()
			defer s.mu.Unlock()
			return time.Until(s.marks[key].until)
		}
		s.onCall(func(id string, _ int) {
			after(time.Minute, func() {
				if left := until(); left != time.Minute+markMargin {
					t.Errorf("the mark has %v left, the lease a minute", left)
				}
				if _, err := s.leases.Extend(s.t.Context(), id, 5*time.Minute); err != nil {
					t.Error(err)
				}
				if left := until(); left != 5*time.Minute+markMargin {
					t.Errorf("the mark has %v left, the lease 5 minutes", left)
				}
			})
			after(5*time.Minute, func() { s.ack(id) })
		})
		s.run(time.Hour, delivery("a"))
		s.wantAcks(handled, 1)
	})
}

func TestExtendThatIsNotRecordedIsRefused(t *testing.T) {
	bubble(t, func(s *scene) {
		s.answers = []push.Answer{accepted(time.Minute)}
		s.onCall(func(id string, _ int) {
			after(30*time.Second, func() {
				s.mu.Lock()
				s.faults = times(1000, errFake)
				s.mu.Unlock()
				if _, err := s.leases.Extend(s.t.Context(), id, time.Hour); !errors.Is(err, ErrNotRecorded) {
					t.Errorf("extended without the mark: %v", err)
				}
				s.mu.Lock()
				s.faults = nil
				s.mu.Unlock()
			})
		})
		began := time.Now()
		s.run(time.Hour, delivery("a"))
		if took := time.Since(began); took != time.Minute {
			t.Errorf("the lease took %v", took)
		}
	})
}

func TestNack(t *testing.T) {
	tests := map[string]struct {
		nack     Nack
		attempts int
		events   []string
		took     time.Duration
	}{
		"with a short delay":   {Nack{Delay: 5 * time.Second}, 16, []string{"call a", "call a", "200 a", "done id:a", "ack a"}, 5 * time.Second},
		"at once":              {Nack{}, 16, []string{"call a", "call a", "200 a", "done id:a", "ack a"}, 0},
		"with a long delay":    {Nack{Delay: time.Hour}, 16, []string{"call a", "back a", "ack a"}, 0},
		"to the dead letters":  {Nack{DeadLetter: true}, 16, []string{"call a", "dead a", "ack a"}, 0},
		"of the last attempt":  {Nack{}, 1, []string{"call a", "dead a", "ack a"}, 0},
		"as after a failure":   {Nack{Delay: -1}, 16, []string{"call a", "call a", "200 a", "done id:a", "ack a"}, -1},
		"twice, the first one": {Nack{Delay: time.Second}, 16, []string{"call a", "call a", "200 a", "done id:a", "ack a"}, time.Second},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			bubble(t, func(s *scene) {
				s.answers = []push.Answer{accepted(0)}
				s.onCall(func(id string, n int) {
					if n > 1 {
						return
					}
					after(time.Minute, func() {
						if err := s.leases.Nack(id, tt.nack); err != nil {
							t.Error(err)
						}
						if err := s.leases.Nack(id, Nack{DeadLetter: true}); err != nil {
							t.Errorf("again: %v", err)
						}
					})
				})
				o := options()
				o.MaxAttempts = tt.attempts
				began := time.Now()
				s.start(o).run(time.Hour, delivery("a"))
				s.wantEvents(tt.events...)
				if took := time.Since(began) - time.Minute; tt.took >= 0 && took != tt.took {
					t.Errorf("went on after %v, want %v", took, tt.took)
				}
				if len(s.calls) == 2 {
					s.wantAttempts(1, 2)
				}
			})
		})
	}
}

// What the application says before its answer has come is heard, and does not
// wait for it.
func TestWordThatOvertakesTheAnswer(t *testing.T) {
	say := map[string]func(s *scene, id string){
		"ack": func(s *scene, id string) { s.ack(id) },
		"nack": func(s *scene, id string) {
			if err := s.leases.Nack(id, Nack{DeadLetter: true}); err != nil {
				s.t.Error(err)
			}
		},
		"extend": func(s *scene, id string) {
			if l, err := s.leases.Extend(s.t.Context(), id, 2*time.Minute); err != nil || time.Until(l.ExpiresAt) != 2*time.Minute {
				s.t.Errorf("%+v, %v", l, err)
			}
		},
	}
	tests := []struct {
		word   string
		answer push.Answer
		events []string
		took   time.Duration
	}{
		{"ack", accepted(time.Minute), []string{"call a", "done id:a", "ack by ID", "ack a"}, time.Second},
		{"ack", failed, []string{"call a", "done id:a", "ack by ID", "ack a"}, time.Second},
		{"ack", silent, []string{"call a", "done id:a", "ack by ID", "ack a"}, time.Second},
		{"ack", push.Answer{Disposition: push.Done, Status: 200}, []string{"call a", "done id:a", "ack by ID", "200 a", "ack a"}, time.Second},
		{"nack", accepted(time.Minute), []string{"call a", "dead a", "ack a"}, time.Second},
		{"nack", push.Answer{Disposition: push.Done, Status: 200}, []string{"call a", "200 a", "done id:a", "ack a"}, time.Second},
		{"extend", accepted(time.Second), []string{"call a", "back a", "ack a"}, 2 * time.Minute},
		{"extend", accepted(3 * time.Minute), []string{"call a", "back a", "ack a"}, time.Second + 3*time.Minute},
		{"extend", silent, []string{"call a", "back a", "ack a"}, 2 * time.Minute},
		{"extend", rejected, []string{"call a", "dead a", "ack a"}, time.Second},
	}
	for _, tt := range tests {
		t.Run(tt.word+" before "+tt.answer.Disposition.String(), func(t *testing.T) {
			bubble(t, func(s *scene) {
				s.answers, s.takes = []push.Answer{tt.answer}, time.Second
				s.onCall(func(id string, _ int) { say[tt.word](s, id) })
				began := time.Now()
				s.run(time.Hour, delivery("a"))
				s.wantEvents(tt.events...)
				if took := time.Since(began); took != tt.took {
					t.Errorf("took %v, want %v", took, tt.took)
				}
			})
		})
	}
}

func TestSixteenLeasesOfAQueue(t *testing.T) {
	bubble(t, func(s *scene) {
		s.answers = times(60, accepted(5*time.Minute))
		o := options()
		o.Concurrency, o.MaxHeld = 2, 16
		parked := 0
		var ds []*message.Delivery
		for i := range 40 {
			d := delivery(string(rune('A' + i)))
			if i == 39 {
				d.Queue = "broker-a/1"
			}
			d.Park = func() {
				s.mu.Lock()
				defer s.mu.Unlock()
				parked++
			}
			ds = append(ds, d)
		}
		s.start(o)
		after(time.Minute, func() {
			s.mu.Lock()
			defer s.mu.Unlock()
			if n := len(s.calls); n != 17 {
				t.Errorf("%d calls: want 16 of the one queue, 1 of the other", n)
			}
			if n := testutil.ToFloat64(s.gate.metrics.leased.WithLabelValues("billing")); n != 17 {
				t.Errorf("%v leased", n)
			}
		})
		s.run(9*time.Minute, ds...)
		if n := len(s.calls); n != 33 { // 16 more of the one queue
			t.Errorf("%d calls after the leases had ended once", n)
		}
		if parked < 33 {
			t.Errorf("%d made room for others", parked)
		}
	})
}

func TestLeaseWhileStopping(t *testing.T) {
	for name, tt := range map[string]struct {
		ackAfter time.Duration
		acked    bool
	}{"acked within the grace": {10 * time.Second, true}, "and after it": {30 * time.Second, false}} {
		t.Run(name, func(t *testing.T) {
			bubble(t, func(s *scene) {
				s.answers = []push.Answer{accepted(0)}
				o := options()
				o.Grace = 20 * time.Second
				s.onCall(func(id string, _ int) { after(tt.ackAfter, func() { s.ack(id) }) })
				began := time.Now()
				s.start(o).run(time.Second, delivery("a"))
				if acked := s.ends["a"] == nil; acked != tt.acked {
					t.Errorf("acked %v: %v", acked, s.events)
				}
				if took := time.Since(began); took > 21*time.Second {
					t.Errorf("stopping took %v", took)
				}
				s.mu.Lock()
				if m := s.marks[dedupe.Key{Scope: "c/orders/billing", Key: "id:a"}]; m.held {
					t.Error("the mark is held: the next delivery would wait for it")
				}
				s.mu.Unlock()
				time.Sleep(time.Minute)
				if !tt.acked && s.count("ack by ID, late") != 1 {
					t.Errorf("an ack after the end: %v", s.events)
				}
			})
		})
	}
}

func TestUnknownDeliveries(t *testing.T) {
	l := NewLeases()
	ask := map[string]func() error{
		"ack":    func() error { _, err := l.Ack(t.Context(), "x-1"); return err },
		"nack":   func() error { return l.Nack("x-1", Nack{}) },
		"extend": func() error { _, err := l.Extend(t.Context(), "x-1", time.Minute); return err },
		"find":   func() error { _, err := l.Find("x-1"); return err },
	}
	for name, do := range ask {
		if err := do(); !errors.Is(err, ErrStarting) {
			t.Errorf("%s while it starts: %v", name, err)
		}
	}
	l.Ready()
	for name, do := range ask {
		if err := do(); !errors.Is(err, ErrUnknownDelivery) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// What is known of deliveries that ended is bounded, by time and number; what has
// nothing to be said of is forgotten at once.
func TestEndedDeliveriesAreForgotten(t *testing.T) {
	bubble(t, func(s *scene) {
		var ids []string
		s.onCall(func(id string, _ int) { ids = append(ids, id) })
		s.start(options()).run(time.Hour, delivery("plain"))
		if _, err := s.leases.Find(ids[0]); !errors.Is(err, ErrUnknownDelivery) {
			t.Errorf("a delivery that was answered 200: %v", err)
		}
		s.answers = []push.Answer{accepted(time.Minute), accepted(time.Minute)}
		s.run(time.Hour, delivery("a"))
		time.Sleep(lateFor - time.Second)
		if l, err := s.leases.Find(ids[1]); err != nil || l.State != "expired" {
			t.Errorf("%+v, %v", l, err)
		}
		time.Sleep(2 * time.Second)
		s.run(time.Hour, delivery("b"))
		if _, err := s.leases.Find(ids[1]); !errors.Is(err, ErrUnknownDelivery) {
			t.Errorf("after an hour: %v", err)
		}
		for range lateMost + 5 {
			l := s.gate.newLease(s.gate.hold(delivery("x")))
			s.leases.end(l, kept)
		}
		if n := len(s.leases.byID); n != lateMost {
			t.Errorf("%d are known", n)
		}
		for range lateMost + 5 {
			s.leases.end(s.gate.newLease(s.gate.hold(delivery("x"))), apart)
		}
		if n := len(s.leases.byID); n != 2*lateMost {
			t.Errorf("%d are known, with those that an answer ended", n)
		}
	})
}
