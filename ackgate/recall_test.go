package ackgate

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/remora-mq/remora/message"
	"github.com/remora-mq/remora/push"
)

// TestRecallOfWhatNoBrokerTakesBack: what is held because no broker takes it, as a dead
// letter too, is called for again when an operator says so: at once, one time, whatever
// attempts it has had. A 200 settles it; else it is held as before, and the broker is asked
// again.
func TestRecallOfWhatNoBrokerTakesBack(t *testing.T) {
	bubble(t, func(s *scene) {
		s.answers = times(4, failed) // the last one after the first recall
		s.backs = times(1000, errors.New("no permission"))
		o := options()
		o.MaxAttempts, o.InPlace, o.Retry.Initial = 3, time.Hour, time.Second
		s.start(o)
		if n := s.gate.Recall(); n != 0 {
			t.Errorf("%d are recalled of none", n)
		}
		go s.run(3*time.Hour, delivery("a"))
		time.Sleep(time.Hour)
		if n := len(s.called()); n != 3 || s.refused() == "" {
			t.Fatalf("%d calls, held for %q: want 3 in vain", n, s.refused())
		}
		asked := s.tally("dead refused")
		if n := s.gate.Recall(); n != 1 {
			t.Errorf("%d are recalled, want 1", n)
		}
		if n := len(s.called()); n != 4 {
			t.Errorf("%d calls after a recall, want 4", n)
		}
		time.Sleep(time.Hour)
		if n := len(s.called()); n != 4 || s.refused() == "" || s.tally("dead refused") <= asked || s.tally("ack") > 0 {
			t.Errorf("%d calls, held for %q, refused %d times, %d acks after a recall in vain", n, s.refused(), s.tally("dead refused"), s.tally("ack"))
		}
		s.gate.Recall()
		if n := s.tally("ack a"); n != 1 || s.refused() != "" {
			t.Errorf("%d acks, held for %q after a recall that is answered 200", n, s.refused())
		}
		s.wantAcks(handled, 1)
		time.Sleep(2 * time.Hour)
	})
}

// Who pulls is given what was recalled.
func TestRecallGivesItToWhoPulls(t *testing.T) {
	bubble(t, func(s *scene) {
		s.pulls = true
		s.backs = times(1000, errors.New("no permission"))
		s.start(options())
		go s.run(time.Hour, delivery("a"))
		first := s.pull(Pull{Max: 1, Wait: time.Minute, Lease: time.Minute})
		if err := s.leases.Nack(first[0].ID, Nack{DeadLetter: true}); err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Minute)
		if again := s.pull(Pull{Max: 1, Wait: time.Second, Lease: time.Minute}); len(again) > 0 || !strings.HasPrefix(s.refused(), "1 of") {
			t.Fatalf("%d are given again, held for %q", len(again), s.refused())
		}
		s.gate.Recall()
		again := s.pull(Pull{Max: 1, Wait: time.Second, Lease: time.Minute})
		if len(again) != 1 {
			t.Fatal("it is not given again")
		}
		if _, err := s.leases.Ack(t.Context(), again[0].ID); err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		s.wantAcks(handled, 1)
		time.Sleep(time.Hour)
	})
}

// TestRecallLastsUntilACallCosts: a handler that cannot be reached, and one that asks to
// wait, cost no attempt, so what was recalled is called for again; and it is a dead letter
// for what its handler said of it.
func TestRecallLastsUntilACallCosts(t *testing.T) {
	for name, vain := range map[string]push.Answer{"unreachable": unreachable, "busy": busy(time.Minute)} {
		t.Run(name, func(t *testing.T) {
			bubble(t, func(s *scene) {
				s.answers = append(times(2, failed), vain, vain)
				s.backs = times(1000, errors.New("no permission"))
				o, causes := options(), []string{}
				o.MaxAttempts, o.InPlace = 2, time.Hour
				o.Died = func(_ *message.Delivery, cause string, attempts int) {
					causes = append(causes, fmt.Sprint(cause, attempts))
				}
				s.start(o)
				go s.run(3*time.Hour, delivery("a"))
				time.Sleep(time.Hour)
				s.gate.Recall()
				time.Sleep(time.Hour)
				if n := len(s.called()); n != 5 || s.tally("ack a") != 1 || s.refused() != "" {
					t.Errorf("%d calls, held for %q: want 5, of which the last is answered 200", n, s.refused())
				}
				if len(causes) != 1 {
					t.Errorf("it died of %q", causes)
				}
				time.Sleep(2 * time.Hour)
			})
		})
	}
}
