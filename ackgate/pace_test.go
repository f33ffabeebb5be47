package ackgate

import (
	"fmt"
	"strconv"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/remora-mq/remora/internal/backoff"
	"github.com/remora-mq/remora/message"
	"github.com/remora-mq/remora/push"
)

var failing = push.Answer{Status: 500}

// storm is a gate whose handler answers 500 for so long. All retries are in place.
func storm(s *scene, o Options, long time.Duration) {
	began := time.Now()
	s.verdict = func(*push.Call) *push.Answer {
		if time.Since(began) < long {
			return &failing
		}
		return nil
	}
	o.InPlace, o.MaxHold = 1000*time.Hour, 1000*time.Hour
	s.start(o)
}

// TestFailingHandlerIsProbed: of an hour of 500 to a thousand messages, attempts are
// burnt by probes, not by every message; nothing is lost or dead, and when the
// handler answers again all is delivered, at first few at a time.
func TestFailingHandlerIsProbed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newScene(t)
		s.takes = 10 * time.Millisecond
		o := options()
		storm(s, o, time.Hour)
		after(59*time.Minute, func() {
			calls := len(s.called())
			state := s.gate.State()
			if state.String() != "failing" || !strings.Contains(state.Detail(), "calls failed, the last one with 500") {
				t.Errorf("state %s: %s", state, state.Detail())
			}
			// 20 until it is known, those that ran then, and a probe each 2.5 to 5 s.
			if calls < 59*60/5 || calls > 20+16+59*60*2/5+10 {
				t.Errorf("%d calls in 59 minutes", calls)
			}
		})
		s.run(3*time.Hour, deliveries(1000)...)
		if acks, dead := s.tally("ack "), s.tally("dead "); acks != 1000 || dead != 0 {
			t.Errorf("%d of 1000 acked, %d dead", acks, dead)
		}
		if state := s.gate.State(); state.String() != "running" {
			t.Errorf("in the end %s", state)
		}
	})
}

// TestDeadLettersFollowTheRetryPolicy: of a handler that always fails, no message is
// a dead letter before its waits are over, and each gets all of its attempts.
func TestDeadLettersFollowTheRetryPolicy(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		began := time.Now()
		s := newScene(t)
		o := options()
		o.MaxAttempts, o.Retry = 4, backoff.Policy{Initial: 10 * time.Second, Max: time.Minute}
		storm(s, o, 1000*time.Hour)
		s.dying = func(id string) {
			if waited := time.Since(began); waited < (10+20+40)/2*time.Second {
				t.Errorf("%s is dead after %v", id, waited)
			}
		}
		s.run(10*time.Hour, deliveries(100)...)
		calls := map[string]int{}
		for _, c := range s.calls {
			calls[c.Delivery.Identity]++
		}
		for i := range 100 {
			if id := deliveries(100)[i].Identity; calls[id] != 4 || s.count("dead "+id) != 1 {
				t.Errorf("%s: %d calls, %d times dead", id, calls[id], s.count("dead "+id))
			}
		}
	})
}

// TestPoisonDoesNotSlowOthers: where a part of the messages fails, each by itself,
// all others are delivered at full speed.
func TestPoisonDoesNotSlowOthers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newScene(t)
		s.takes = time.Second
		s.verdict = func(c *push.Call) *push.Answer {
			if strings.HasSuffix(c.Delivery.Identity, "0") || strings.HasSuffix(c.Delivery.Identity, "5") {
				return &failing
			}
			return nil
		}
		s.start(options())
		for at, least := range map[time.Duration]int{8*time.Second + 500*time.Millisecond: 80, 20 * time.Second: 160} {
			after(at, func() {
				if acks := s.tally("200 "); acks < least || s.gate.State().String() != "running" {
					t.Errorf("%d answered with 200 after %v, %s", acks, at, s.gate.State())
				}
			})
		}
		var ds []*message.Delivery
		for i := range 200 {
			ds = append(ds, delivery(fmt.Sprintf("m%03d", i)))
		}
		s.run(time.Minute, ds...)
	})
}

// TestPaceRecoversByDoubling: after the storm 1, 2, 4 and 8 calls may run at a time,
// each when a probe was answered; a failure among them begins again with one.
func TestPaceRecoversByDoubling(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newPace(backoff.Policy{Initial: time.Second, Max: time.Second}, 8)
		enter := func() stride {
			s, err := p.enter(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			return s
		}
		for i := range paceWindow {
			if turned := enter().leave(fmt.Sprint(i), 0, broken, "500"); turned != (i == paceWindow-1) {
				t.Fatalf("turned: %t after %d failures", turned, i+1)
			}
		}
		together := func() (n int) {
			var all []stride
			for s, _, _ := p.try(); s.p != nil; s, _, _ = p.try() {
				if all = append(all, s); len(all) == 100 {
					break
				}
			}
			for _, s := range all {
				s.leave("", 0, unseen, "")
			}
			return len(all)
		}
		if n := together(); n != 0 {
			t.Errorf("%d calls right after the storm", n)
		}
		time.Sleep(time.Second)
		for _, want := range []int{1, 2, 4} {
			if n := together(); n != want {
				t.Errorf("%d calls at a time, want %d", n, want)
			}
			if enter().leave("m", 0, working, "200") != (want == 4) {
				t.Error("it turned, or did not")
			}
		}
		if n := together(); n != 100 {
			t.Errorf("recovered, and %d at a time", n)
		}
		for i := range paceWindow {
			enter().leave(fmt.Sprint(i), 0, broken, "500")
		}
		time.Sleep(time.Second)
		enter().leave("m", 0, working, "200")
		late, probe := enter(), enter()
		probe.leave("m", 0, broken, "500")
		late.leave("late", 0, unseen, "")
		time.Sleep(time.Second)
		if n := together(); n != 1 {
			t.Errorf("%d at a time after a failure", n)
		}
	})
}

// TestMessageThatFailsForEverIsNoFailingHandler: one blocked ordering key, whose
// message is retried for ever beside few others, holds up none of those.
func TestMessageThatFailsForEverIsNoFailingHandler(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newScene(t)
		s.verdict = func(c *push.Call) *push.Answer {
			if c.Delivery.OrderingKey == "a" {
				return &failing
			}
			if state := s.gate.State(); state.String() != "running" {
				t.Errorf("at the call of %s: %s, %s", c.Delivery.Identity, state, state.Detail())
			}
			return nil
		}
		o := options()
		o.Block, o.Retry = true, backoff.Policy{Initial: 100 * time.Millisecond, Max: time.Second}
		s.during = func(c *push.Call) {
			if c.Delivery.OrderingKey == "b" {
				time.Sleep(20 * time.Second) // 20 calls and more of the other one
			}
		}
		s.inOrder(o).run(10*time.Minute, keyed("a0"), keyed("b0"), keyed("b1"), keyed("b2"), keyed("b3"))
		if calls := s.count("call a0"); calls < 100 || s.count("ack b3") != 1 {
			t.Errorf("%d calls of the one that blocks; %v", calls, s.events)
		}
	})
}

// An answer that looks like success and is none is named, with what to answer instead.
func TestFailingNamesAnAnswerThatIsNoAck(t *testing.T) {
	for code, says := range map[string]bool{"201": true, "500": false, "broken": false} {
		p := newPace(backoff.Policy{Initial: time.Second}, 4)
		for i := range paceWindow {
			s, _, _ := p.try()
			s.leave(strconv.Itoa(i), 0, broken, code)
		}
		why, is := p.tell()
		if said := strings.Contains(why.Detail, "; 201 is no ack: answer 200, or list 201 in ack_statuses"); !is || said != says {
			t.Errorf("%s: %t, %q", code, is, why.Detail)
		}
	}
}
