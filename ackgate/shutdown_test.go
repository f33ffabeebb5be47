package ackgate

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/remora-mq/remora/dedupe"
	"github.com/remora-mq/remora/push"
)

func TestShutdown(t *testing.T) {
	tests := map[string]struct {
		takes, grace time.Duration
		acked        bool
	}{
		"call ends within the grace":    {10 * time.Second, 20 * time.Second, true},
		"call is cut off at its end":    {20 * time.Second, 10 * time.Second, false},
		"no grace":                      {20 * time.Second, -1, false},
		"the timeout comes before it":   {40 * time.Second, time.Hour, false},
		"default grace is the timeout":  {29 * time.Second, 0, true},
		"default grace ends at timeout": {31 * time.Second, 0, false},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			bubble(t, func(s *scene) {
				s.takes = tt.takes
				o := options()
				o.Grace = tt.grace
				s.start(o).run(time.Second, delivery("a"))
				if acked := s.ends["a"] == nil; acked != tt.acked {
					t.Errorf("acked: %v; %v", acked, s.events)
				}
				if m := s.marks[dedupe.Key{Scope: "c/orders/billing", Key: "id:a"}]; m.held || m.attempts != 1 {
					t.Errorf("the mark is held: %v, attempts %d", m.held, m.attempts)
				}
			})
		})
	}
}

func TestShutdownWhileHeld(t *testing.T) {
	tests := map[string]func(s *scene){
		"retry in place":      func(s *scene) { s.answers, s.backs = times(9, failed), times(9, errFake) },
		"handler unreachable": func(s *scene) { s.answers = times(999, unreachable) },
		"handler busy":        func(s *scene) { s.answers = times(9, busy(time.Hour)) },
		"store down":          func(s *scene) { s.faults = times(999, errFake) },
		"broker refuses":      func(s *scene) { s.answers, s.backs = []push.Answer{rejected}, times(999, errFake) },
	}
	for name, prepare := range tests {
		t.Run(name, func(t *testing.T) {
			bubble(t, func(s *scene) {
				prepare(s)
				s.run(5*time.Second, delivery("a"))
				if err := s.ends["a"]; !errors.Is(err, context.DeadlineExceeded) {
					t.Errorf("receive returned %v", err)
				}
			})
		})
	}
}

// TestShutdownWhileTheBrokerIsAsked: a send-back that was begun has the grace of a call,
// since the broker may have the message by then.
func TestShutdownWhileTheBrokerIsAsked(t *testing.T) {
	tests := map[string]struct {
		asked, grace time.Duration
		acked        bool
	}{
		"it answers within the grace":    {10 * time.Second, 0, true},
		"it does not within the grace":   {10 * time.Second, 5 * time.Second, false},
		"it does not within its timeout": {sendBackTimeout + time.Second, 0, false},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			bubble(t, func(s *scene) {
				s.asked, s.answers = tt.asked, []push.Answer{rejected}
				o := options()
				o.Grace = tt.grace
				s.start(o).run(time.Second, delivery("a"))
				if acked := s.ends["a"] == nil; acked != tt.acked {
					t.Errorf("acked: %v; %v", acked, s.events)
				}
				if m := s.marks[dedupe.Key{Scope: "c/orders/billing", Key: "id:a"}]; (m.attempts == 0) != tt.acked {
					t.Errorf("%d attempts are left of a redriven message", m.attempts)
				}
			})
		})
	}
}

func TestConcurrencyIsOfCallsNotOfHeldMessages(t *testing.T) {
	bubble(t, func(s *scene) {
		s.takes = time.Second
		s.answers = times(8, busy(time.Minute))
		for i := range 40 {
			s.deliver = append(s.deliver, delivery(fmt.Sprint("m", i)))
		}
		o := options()
		o.Concurrency = 4
		began := time.Now()
		s.start(o).run(time.Hour, s.deliver...)
		if s.most != 4 {
			t.Errorf("%d calls at a time", s.most)
		}
		s.wantAcks(handled, 40)
		if took := time.Since(began); took > 70*time.Second {
			t.Errorf("held messages kept slots: all took %v", took)
		}
	})
}
