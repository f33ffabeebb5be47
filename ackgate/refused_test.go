package ackgate

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus/testutil"

	"github.com/remora-mq/remora/broker"
)

// refused is what the state says of messages that no broker takes back; "": nothing.
func (s *scene) refused() string {
	for _, h := range s.gate.State().HeldUp {
		if h.Cause == Refused {
			return h.Detail
		}
	}
	return ""
}

// TestRefusedSendBackIsTold: while a broker takes messages back neither for a retry nor as
// dead letters, the state says how many are held for it, and the broker's last words; it
// ends when they are settled.
func TestRefusedSendBackIsTold(t *testing.T) {
	bubble(t, func(s *scene) {
		s.answers = times(3, rejected)
		s.backs = times(3, errors.New("broker answered with code 16: no permission\n\tat java.lang.Thread"))
		s.start(options())
		go s.run(time.Hour, delivery("a"), delivery("b"), delivery("c"))
		time.Sleep(time.Minute / 2)
		want := "3 of its messages are held, because a broker does not take them back; the last one: broker answered with code 16: no permission"
		if is := s.refused(); is != want || s.gate.State().String() != "send_back_refused" {
			t.Errorf("%s: %q, want %q", s.gate.State(), is, want)
		}
		gauge := s.gate.metrics.heldUp.WithLabelValues("billing", "send_back_refused")
		if is := testutil.ToFloat64(gauge); is != 1 {
			t.Errorf("the metric is %v", is)
		}
		time.Sleep(30 * time.Minute)
		s.wantAcks(deadLetter, 3)
		if is := s.refused(); is != "" || testutil.ToFloat64(gauge) != 0 {
			t.Errorf("all are settled: %q", is)
		}
	})
}

// That a try was not made is none of the broker's words, and keeps them.
func TestRefusalKeepsTheBrokersWords(t *testing.T) {
	bubble(t, func(s *scene) {
		s.start(options())
		r, a, b := s.gate.refusals, &held{}, &held{}
		r.follow(b)
		if is := s.refused(); is != "" {
			t.Errorf("who follows nobody is held: %q", is)
		}
		r.add(a, fmt.Errorf("%w: a moment ago", broker.ErrNotAsked))
		r.add(a, errors.New("retryQueueNums 0 "+strings.Repeat("ä", refusalMost)))
		r.add(a, fmt.Errorf("%w: a moment ago", broker.ErrNotAsked))
		r.follow(b)
		if is := s.refused(); !strings.HasPrefix(is, "2 of") || !strings.Contains(is, "one: retryQueueNums 0 ä") || !strings.HasSuffix(is, "ä…") || len(is) > refusalMost+100 {
			t.Errorf("it tells %q", is)
		}
		r.leave(a)
		if is := s.refused(); !strings.HasPrefix(is, "1 of") {
			t.Errorf("of the other it tells %q", is)
		}
		r.leave(b)
		if is := s.refused(); is != "" {
			t.Errorf("of none it tells %q", is)
		}
		r.add(a, errors.New("\n\tat java.lang.Thread"))
		r.leave(b)
		r.leave(a)
		if is := testutil.ToFloat64(r.gauge); is != 0 {
			t.Errorf("of none, after one without words, the metric is %v", is)
		}
	})
}

// A moment in which the broker has no time is not told; one that lasts is.
func TestBusyBrokerIsToldWhenItLasts(t *testing.T) {
	bubble(t, func(s *scene) {
		s.answers = times(1, rejected)
		s.backs = times(10000, fmt.Errorf("send back: %w", broker.ErrBusy))
		s.start(options())
		go s.run(10*time.Minute, delivery("a"))
		time.Sleep(busyLong - time.Second)
		if is := s.refused(); is != "" || s.tally("dead refused") == 0 {
			t.Errorf("told at once: %q", is)
		}
		time.Sleep(5 * time.Minute)
		if is := s.refused(); !strings.Contains(is, "busy") {
			t.Errorf("told %q after minutes", is)
		}
		time.Sleep(10 * time.Minute)
	})
}
