package ackgate

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus/testutil"

	"github.com/remora-mq/remora/dedupe"
	"github.com/remora-mq/remora/internal/backoff"
	"github.com/remora-mq/remora/push"
)

var (
	failed      = push.Answer{Disposition: push.Retry, Status: 500, Err: errFake}
	rejected    = push.Answer{Disposition: push.DeadLetter, Status: 422, Err: errFake}
	unreachable = push.Answer{Disposition: push.Unreachable, Err: errFake}
)

func busy(d time.Duration) push.Answer {
	return push.Answer{Disposition: push.Wait, Status: 503, RetryAfter: d, Err: errFake}
}

func times[T any](n int, v T) (all []T) {
	for range n {
		all = append(all, v)
	}
	return all
}

// bubble runs a scene in fake time.
func bubble(t *testing.T, test func(s *scene)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) { test(newScene(t)) })
}

func (s *scene) wantEvents(want ...string) {
	s.t.Helper()
	synctest.Wait() // for what the application said
	if !slices.Equal(s.events, want) {
		s.t.Errorf("it went\n  %s\nwant\n  %s", strings.Join(s.events, "\n  "), strings.Join(want, "\n  "))
	}
}

func (s *scene) wantAttempts(want ...int) {
	s.t.Helper()
	var got []int
	for _, c := range s.calls {
		got = append(got, c.Attempt)
	}
	if !slices.Equal(got, want) {
		s.t.Errorf("attempts %v, want %v", got, want)
	}
}

func (s *scene) wantAcks(why reason, n int) {
	s.t.Helper()
	if got := testutil.ToFloat64(s.gate.metrics.acks.WithLabelValues("billing", string(why))); got != float64(n) {
		s.t.Errorf("%v acks for %s, want %d", got, why, n)
	}
}

func TestAckAfter200(t *testing.T) {
	bubble(t, func(s *scene) {
		s.takes = 10 * time.Second
		s.run(time.Minute, delivery("a"))
		s.wantEvents("call a", "200 a", "done id:a", "ack a")
		s.wantAcks(handled, 1)
	})
}

func TestAckWithoutStore(t *testing.T) {
	bubble(t, func(s *scene) {
		s.noStore = true
		s.answers = []push.Answer{failed}
		d := delivery("a")
		d.Attempt = 3
		s.run(time.Minute, d)
		s.wantEvents("call a", "call a", "200 a", "ack a")
		s.wantAttempts(3, 4)
	})
}

func TestRepeatIsAckedWithoutACall(t *testing.T) {
	bubble(t, func(s *scene) {
		s.start(options()).run(time.Minute, delivery("a"))
		s.run(time.Minute, delivery("a"))
		s.wantEvents("call a", "200 a", "done id:a", "ack a", "repeat id:a", "ack a")
		s.wantAcks(repeat, 1)
	})
}

func TestOtherContentIsDelivered(t *testing.T) {
	bubble(t, func(s *scene) {
		s.start(options()).run(time.Minute, delivery("a"))
		d := delivery("a")
		d.Body = []byte("something else")
		s.run(time.Minute, d)
		if n := s.count("call a"); n != 2 {
			t.Errorf("%d calls", n)
		}
		if n := testutil.ToFloat64(s.gate.metrics.checks.WithLabelValues("off", "conflict")); n != 1 {
			t.Errorf("%v conflicts counted", n)
		}
	})
}

func TestSecondDeliveryWaitsForTheFirst(t *testing.T) {
	bubble(t, func(s *scene) {
		s.takes = 8 * time.Second
		s.start(options())
		s.run(2*time.Minute, delivery("a"), delivery("a"))
		s.wantEvents("call a", "200 a", "done id:a", "ack a", "repeat id:a", "ack a")
	})
}

func TestHolderThatIsDoneEarlyIsNoticed(t *testing.T) {
	bubble(t, func(s *scene) {
		s.takes = 8 * time.Second
		began := time.Now()
		s.run(2*time.Minute, delivery("a"), delivery("a"))
		if took := time.Since(began); took > 15*time.Second {
			t.Errorf("the repeat waited %v for a holder that took 8 s", took)
		}
	})
}

func TestShortRetriesThenSendBack(t *testing.T) {
	bubble(t, func(s *scene) {
		s.answers = times(20, failed)
		var last time.Time
		s.during = func(*push.Call) { last = time.Now() }
		began := time.Now()
		s.run(time.Hour, delivery("a"))
		if took := last.Sub(began); took > 10*time.Second {
			t.Errorf("the last call was after %v in place", took)
		}
		if last := s.events[len(s.events)-2:]; !slices.Equal(last, []string{"back a", "ack a"}) {
			t.Fatalf("it went %v", s.events)
		}
		if n := len(s.calls); n < 4 || n > 6 {
			t.Errorf("%d calls in 10 s of short retries", n)
		}
		s.wantAcks(sentBack, 1)
	})
}

func TestAttemptsGoOnAfterARedelivery(t *testing.T) {
	bubble(t, func(s *scene) {
		s.answers = times(100, failed)
		s.start(options())
		for round := 1; !s.happened("dead a"); round++ {
			d := delivery("a")
			d.Attempt = round
			s.run(time.Hour, d)
		}
		if n := len(s.calls); n != 16 || s.calls[15].Attempt != 16 {
			t.Errorf("%d calls, the last was attempt %d; want 16", n, s.calls[n-1].Attempt)
		}
		s.wantAcks(deadLetter, 1)
		s.answers = nil
		s.run(time.Hour, delivery("a")) // redriven
		if last := s.calls[len(s.calls)-1]; last.Attempt != 1 {
			t.Errorf("the redriven message came as attempt %d", last.Attempt)
		}
	})
}

func TestRefusedSendBackHolds(t *testing.T) {
	bubble(t, func(s *scene) {
		s.answers = times(8, failed)
		s.backs = times(1000, errFake)
		s.run(24*time.Hour, delivery("a"))
		s.wantAcks(sentBack, 0)
		s.wantAcks(handled, 1)
		if asked, most := s.count("back refused a"), 10; asked < 2 || asked > most {
			t.Errorf("the broker was asked %d times, within about 8 minutes: at most once a minute", asked)
		}
	})
}

// TestRefusedSendBackIsNotRepeatedAtOnce: a broker that does not take one message may
// take another at the same time. The one that it did not take may have left a copy, and
// is not tried again for a minute.
func TestRefusedSendBackIsNotRepeatedAtOnce(t *testing.T) {
	bubble(t, func(s *scene) {
		s.answers = times(2, rejected)
		s.backs = []error{errFake}
		s.asked = time.Second // so that both are asked for together
		began := time.Now()
		s.run(time.Hour, delivery("a"), delivery("b"))
		s.wantAcks(deadLetter, 2)
		if took := time.Since(began); took < time.Minute {
			t.Errorf("it was tried again within %v", took)
		}
	})
}

func TestRefusedDeadLetterHoldsWithoutCalls(t *testing.T) {
	bubble(t, func(s *scene) {
		s.answers = []push.Answer{rejected}
		s.backs = times(30, errFake)
		s.run(time.Hour, delivery("a"))
		if n := s.count("call a"); n != 1 {
			t.Errorf("%d calls of a rejected message", n)
		}
		if !s.happened("dead a") || !s.happened("ack a") {
			t.Errorf("it went %v", s.events)
		}
		s.wantAcks(deadLetter, 1)
	})
}

func TestBrokerThatRefusesIsAskedForOneMessageAtATime(t *testing.T) {
	bubble(t, func(s *scene) {
		s.answers = times(10, rejected)
		s.backs = times(10000, errFake)
		ids := []string{"a", "b", "c", "d", "e", "f", "g", "h", "i", "j"}
		for _, id := range ids {
			s.deliver = append(s.deliver, delivery(id))
		}
		s.run(30*time.Minute, s.deliver...)
		asked := 0
		for _, id := range ids {
			asked += s.count("dead refused " + id)
		}
		if asked > 31+len(ids) {
			t.Errorf("asked %d times in 30 minutes", asked)
		}
	})
}

func TestRetryAfterCostsNoAttempt(t *testing.T) {
	bubble(t, func(s *scene) {
		s.answers = []push.Answer{busy(time.Minute), busy(0), busy(100 * time.Hour), failed}
		began := time.Now()
		s.run(time.Hour, delivery("a"))
		s.wantAttempts(1, 1, 1, 1, 2)
		if took := time.Since(began); took < 11*time.Minute+time.Second || took > 11*time.Minute+5*time.Second {
			t.Errorf("waited %v: want 1m, 1s at least, 10m at most, and a retry", took)
		}
	})
}

// A wait that costs no attempt is held, also after a send-back was refused.
func TestWaitIsNotSentBack(t *testing.T) {
	bubble(t, func(s *scene) {
		s.answers = append([]push.Answer{failed}, times(1000, busy(5*time.Minute))...)
		s.backs = []error{errFake}
		o := options()
		o.Retry = backoff.Policy{Initial: 20 * time.Second} // beyond what is waited in place
		s.start(o).run(12*time.Hour, delivery("a"))
		if s.happened("back a") || s.happened("ack a") {
			t.Errorf("a busy handler's message was sent back: %v", s.events[len(s.events)-2:])
		}
	})
}

func TestUnreachableHoldsTheSubscription(t *testing.T) {
	bubble(t, func(s *scene) {
		s.answers = times(50, unreachable)
		for i := range 30 {
			s.deliver = append(s.deliver, delivery(fmt.Sprint("m", i)))
		}
		o := options()
		o.MaxAttempts = 2
		s.start(o).run(time.Hour, s.deliver...)
		s.wantAcks(handled, 30)
		if s.calls[len(s.calls)-1].Attempt != 1 {
			t.Error("an unreachable handler costs attempts")
		}
		// Sixteen went in before the first answer; each later call was a probe.
		if n := len(s.calls); n != 50+30 {
			t.Errorf("%d calls", n)
		}
	})
}

func TestOneProbeAtATime(t *testing.T) {
	bubble(t, func(s *scene) {
		s.answers = times(1000, unreachable)
		s.takes = 10 * time.Millisecond
		for i := range 30 {
			s.deliver = append(s.deliver, delivery(fmt.Sprint("m", i)))
		}
		s.run(5*time.Minute, s.deliver...)
		// One each 2.5 to 5 s after the first few.
		if n := len(s.calls) - 16; n < 50 || n > 140 {
			t.Errorf("%d probes in 5 minutes", n)
		}
		if got, want := s.gate.State().Detail(), "unreachable: "+errFake.Error(); got != want {
			t.Errorf("the state says %q, want %q", got, want)
		}
		s.wantAcks(handled, 0)
	})
}

func TestStoreThatFailsHolds(t *testing.T) {
	bubble(t, func(s *scene) {
		s.faults = times(20, errFake)
		s.run(time.Hour, delivery("a"))
		s.wantEvents("call a", "200 a", "done id:a", "ack a")
		s.faults = times(100000, errFake)
		s.run(time.Hour, delivery("b"))
		if s.happened("call b") || s.happened("ack b") {
			t.Errorf("without a store: %v", s.events)
		}
	})
}

// Only a store that is down is passed by, and only where that is configured; the
// handler is told, and what it answers has no mark.
func TestStoreThatIsDownHoldsOrIsPassedBy(t *testing.T) {
	down := fmt.Errorf("begin: %w", dedupe.ErrUnavailable)
	for _, tt := range []struct {
		name   string
		pass   bool
		err    error
		passed bool
	}{
		{"hold", false, down, false},
		{"pass", true, down, true},
		{"pass, another error", true, errFake, false},
		{"pass, closed", true, dedupe.ErrClosed, false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			bubble(t, func(s *scene) {
				o := options()
				o.Pass = tt.pass
				s.faults = times(3, tt.err)
				s.start(o).run(time.Minute, delivery("a"))
				unchecked := testutil.ToFloat64(s.gate.metrics.unchecked.WithLabelValues("billing"))
				if len(s.calls) != 1 || s.calls[0].Unchecked != tt.passed || (unchecked == 1) != tt.passed {
					t.Errorf("%d calls: %+v; %v counted", len(s.calls), s.calls, unchecked)
				}
				if s.happened("done id:a") == tt.passed || !s.happened("ack a") {
					t.Errorf("%v", s.events)
				}
			})
		})
	}
}

// A retry asks the store again, and is then like any other.
func TestRetryAfterAPassAsksTheStore(t *testing.T) {
	bubble(t, func(s *scene) {
		o := options()
		o.Pass = true
		s.faults, s.answers = times(1, dedupe.ErrUnavailable), []push.Answer{failed}
		s.start(o).run(time.Minute, delivery("a"))
		if len(s.calls) != 2 || !s.calls[0].Unchecked || s.calls[1].Unchecked || s.calls[1].Attempt != 2 {
			t.Errorf("%+v", s.calls)
		}
		s.wantEvents("call a", "call a", "200 a", "done id:a", "ack a")
	})
}

func TestDoneIsRetriedThenAckedWithout(t *testing.T) {
	bubble(t, func(s *scene) {
		s.doneFail = 2
		s.run(time.Minute, delivery("a"))
		s.wantEvents("call a", "200 a", "done id:a", "ack a")
	})
	bubble(t, func(s *scene) {
		s.doneFail = 1000
		s.run(time.Minute, delivery("a"))
		s.wantEvents("call a", "200 a", "ack a")
		if n := testutil.ToFloat64(s.gate.metrics.unmarked.WithLabelValues("billing")); n != 1 {
			t.Errorf("%v counted", n)
		}
	})
}

// A store that is away for a moment costs no call: the mark is there when it is back,
// and what comes again is a repeat.
func TestDoneOutlastsAStoreThatIsAwayForAMoment(t *testing.T) {
	bubble(t, func(s *scene) {
		s.doneAway = 4500 * time.Millisecond
		began := time.Now()
		s.run(time.Minute, delivery("a"))
		if took := time.Since(began); took < s.doneAway || took > settleTimeout {
			t.Errorf("acked after %v", took)
		}
		s.run(time.Minute, delivery("a"))
		s.wantEvents("call a", "200 a", "done id:a", "ack a", "repeat id:a", "ack a")
		if n := testutil.ToFloat64(s.gate.metrics.unmarked.WithLabelValues("billing")); n != 0 {
			t.Errorf("%v are counted as unmarked", n)
		}
	})
}

// A store that stays away holds a stop for settleTimeout, and no longer.
func TestDoneThatFailsDoesNotHoldAStop(t *testing.T) {
	bubble(t, func(s *scene) {
		s.doneAway, s.takes = time.Hour, time.Second
		began := time.Now()
		s.run(500*time.Millisecond, delivery("a"))
		if took := time.Since(began); took > 6*time.Second {
			t.Errorf("stopped after %v", took)
		}
		s.wantEvents("call a", "200 a", "ack a")
	})
}

func TestReleaseThatFailsWaitsForTheLease(t *testing.T) {
	bubble(t, func(s *scene) {
		s.relFail, s.answers = 1000, []push.Answer{failed}
		began := time.Now()
		s.run(time.Hour, delivery("a"))
		s.wantAttempts(1, 2)
		if took := time.Since(began); took < time.Minute {
			t.Errorf("called again after %v, within the lease", took)
		}
	})
}

func TestMessageThatKillsTheSidecarIsFoundOut(t *testing.T) {
	bubble(t, func(s *scene) {
		s.start(options())
		k := KeyRule{}.of("c/orders/billing", delivery("a"))
		s.marks[k] = &fakeMark{attempts: 16, effect: fingerprint(delivery("a"))}
		s.run(time.Hour, delivery("a"))
		s.wantEvents("dead a", "ack a")
	})
}

func TestPanicHolds(t *testing.T) {
	bubble(t, func(s *scene) {
		s.boom = 3
		s.run(time.Hour, delivery("a"))
		s.wantAttempts(1, 2, 3, 4)
		s.wantAcks(handled, 1)
		if len(s.gate.slots.calls) != 0 {
			t.Error("a panic kept its slot")
		}
	})
}

// An answer that nobody filled in is a failed attempt.
func TestZeroAnswerHolds(t *testing.T) {
	bubble(t, func(s *scene) {
		s.answers = times(3, push.Answer{})
		s.run(time.Hour, delivery("a"))
		s.wantAttempts(1, 2, 3, 4)
		s.wantAcks(handled, 1)
	})
}
