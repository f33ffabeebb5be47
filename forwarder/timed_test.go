package forwarder_test

import (
	"fmt"
	"slices"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/remora-mq/remora/broker"
	"github.com/remora-mq/remora/forwarder"
	"github.com/remora-mq/remora/message"
	"github.com/remora-mq/remora/spool"
)

// timerRig is of a topic whose delayed messages are for the broker's timer, a day ahead.
type timerRig struct {
	*rig

	ahead atomic.Int64
	early map[string]time.Duration // by body: how long before it was due it was stored
}

// openTimer begins with a broker that answers what refused says to what is not due.
func openTimer(t *testing.T, refused func(m *message.Message) *broker.SendError) *timerRig {
	t.Helper()
	r := &timerRig{early: map[string]time.Duration{}}
	r.ahead.Store(int64(24 * time.Hour))
	ahead := func(string) time.Duration { return time.Duration(r.ahead.Load()) }
	p := &producer{answer: func(msgs []*message.Message) *broker.SendError {
		for _, m := range msgs {
			early := time.Until(m.TimerAt())
			if early > 0 && len(msgs) > 1 {
				t.Errorf("one for the timer is in a batch of %d", len(msgs))
			}
			if early > 0 && refused != nil {
				if se := refused(m); se != nil {
					return se
				}
			}
			if !m.TimerAt().IsZero() {
				r.early[string(m.Body)] = early
			}
		}
		return nil
	}}
	r.rig = openWith(t, p, spool.Options{Timer: func(topic string) (time.Duration, bool) { return ahead(topic), true }})
	r.forward(forwarder.Options{Timer: ahead}, p)
	return r
}

// absent is how early a message is that is not there.
const absent = -time.Hour

// sentBefore is how early a message is at the broker.
func (r *timerRig) sentBefore(body string) time.Duration {
	synctest.Wait()
	r.producer.mu.Lock()
	defer r.producer.mu.Unlock()
	if early, there := r.early[body]; there {
		return early
	}
	return absent
}

func (r *timerRig) wants(body string, early time.Duration) {
	r.t.Helper()
	if got := r.sentBefore(body); got.Round(time.Second) != early {
		r.t.Errorf("%q is there %v before it is due, want %v", body, got, early)
	}
}

func waiting(body string, delay time.Duration) spool.Draft {
	d := draft("t", body, "")
	d.Delay = delay
	return d
}

func TestTimedMessagesAreSentAlone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := openTimer(t, nil)
		drafts := numbered(20, "")
		for i := range drafts {
			drafts[i].Topic = "t"
		}
		for i := range 5 {
			drafts = append(drafts, waiting(fmt.Sprint("timer ", i), time.Hour))
		}
		r.accept(drafts...)
		r.drained()
		for i := range 5 {
			r.wants(fmt.Sprint("timer ", i), time.Hour)
		}
		if most := slices.Max(r.sizes); most < 10 {
			t.Errorf("what is due goes in batches of %d at most: %v", most, r.sizes)
		}
	})
}

// A timer that the broker refuses is no dead letter: the message waits here until it is
// due, and delays no other.
func TestRefusedTimerWaitsInTheSpool(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var tries atomic.Int32
		r := openTimer(t, func(*message.Message) *broker.SendError {
			tries.Add(1)
			return &broker.SendError{Outcome: message.OutcomeRetryable, Status: "TIMER_ILLEGAL", Timer: broker.TimerRefused}
		})
		id := r.accept(waiting("x", time.Hour))[0]
		time.Sleep(59 * time.Minute)
		r.wants("x", absent)
		if got, err := r.Receipt(t.Context(), id); err != nil || got.State != message.StateRetrying || tries.Load() != 6 {
			t.Errorf("tried %d times: %+v, %v", tries.Load(), got, err)
		}
		r.accept(draft("t", "another", ""))
		time.Sleep(time.Second)
		if !slices.Contains(r.bodies(), "another") {
			t.Error("another message of the topic waits for it")
		}
		time.Sleep(2 * time.Minute)
		r.wants("x", 0)
	})
}

// A broker whose clock is behind, or that has come without a timer, takes it later.
func TestRefusedTimerIsTriedAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := openTimer(t, func(m *message.Message) *broker.SendError {
			if time.Until(m.TimerAt()) < 35*time.Minute {
				return nil
			}
			return &broker.SendError{Outcome: message.OutcomeRetryable, Status: "TIMER_ILLEGAL", Timer: broker.TimerRefused}
		})
		r.accept(waiting("x", time.Hour))
		time.Sleep(31 * time.Minute)
		r.wants("x", 30*time.Minute)
	})
}

func TestBusyTimerIsTriedAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var tries atomic.Int32
		r := openTimer(t, func(*message.Message) *broker.SendError {
			if tries.Add(1) > 5 {
				return nil
			}
			return &broker.SendError{Outcome: message.OutcomeRetryable, Status: "TIMER_FLOW_CONTROL", Timer: broker.TimerBusy}
		})
		r.accept(waiting("x", time.Hour))
		time.Sleep(10 * time.Second)
		synctest.Wait()
		if n := tries.Load(); n != 6 {
			t.Errorf("tried %d times, want 6", n)
		}
		if len(r.bodies()) != 1 {
			t.Error("it is not there")
		}
	})
}

// While no broker is known to have a timer, what is for one waits, and is sent once it is
// known; else when it is due.
func TestWithoutTimerItWaitsUntilDue(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := openTimer(t, func(*message.Message) *broker.SendError { return nil })
		down := refuse(message.OutcomeRetryable, "CONNECT")
		answer := r.answer
		r.setAnswer(func([]*message.Message) *broker.SendError { return down })
		r.accept(waiting("first", time.Hour), waiting("second", 2*time.Hour))
		time.Sleep(time.Minute)
		r.ahead.Store(0)
		r.setAnswer(answer)
		r.accept(draft("t", "by which the lane learns that the broker is back", ""))
		time.Sleep(58 * time.Minute)
		r.wants("first", absent)
		time.Sleep(2 * time.Minute)
		r.wants("first", 0)
		r.wants("second", absent)
		r.ahead.Store(int64(time.Hour))
		time.Sleep(time.Minute)
		if early := r.sentBefore("second"); early < 58*time.Minute || early > time.Hour {
			t.Errorf("sent %v before it is due", early)
		}
	})
}

func (r *timerRig) setAnswer(answer func([]*message.Message) *broker.SendError) {
	r.producer.mu.Lock()
	defer r.producer.mu.Unlock()
	r.answer = answer
}
