package ackgate

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"pgregory.net/rapid"

	"github.com/remora-mq/remora/push"
)

// script is what happens to a few messages.
type script struct {
	ids      []string
	answers  []push.Answer
	takes    time.Duration
	faults   []error
	backs    []error
	boom     int
	doneFail int
	relFail  int
	noStore  bool
	grace    time.Duration
	until    time.Duration
	attempts int
	words    []word
}

// word is what the application says of a call by its ID, a while after it.
type word struct {
	after time.Duration
	what  string // ack, nack, dead, extend
}

func drawWords(t *rapid.T) []word {
	wait := rapid.SampledFrom([]time.Duration{0, time.Millisecond, 29 * time.Second, 59 * time.Second, time.Minute, 5 * time.Minute, 20 * time.Minute})
	return rapid.SliceOfN(rapid.Custom(func(t *rapid.T) word {
		return word{wait.Draw(t, "after"), rapid.SampledFrom([]string{"ack", "ack", "nack", "dead", "extend"}).Draw(t, "what")}
	}), 0, 20).Draw(t, "words")
}

func drawScript(t *rapid.T) script {
	answer := rapid.SampledFrom([]push.Answer{
		{}, failed, failed, rejected, unreachable, busy(time.Second), busy(time.Hour),
		{Disposition: push.Done, Status: 200}, {Disposition: push.Retry, Status: 201}, {Disposition: push.Wait},
		accepted(0), accepted(time.Second), accepted(time.Minute), silent,
	})
	fault := rapid.SampledFrom([]error{nil, nil, errFake})
	wait := rapid.SampledFrom([]time.Duration{0, time.Millisecond, time.Second, 29 * time.Second, 31 * time.Second})
	return script{
		ids:      rapid.SliceOfN(rapid.SampledFrom([]string{"a", "b", "c", "d"}), 1, 6).Draw(t, "ids"),
		answers:  rapid.SliceOfN(answer, 0, 40).Draw(t, "answers"),
		takes:    wait.Draw(t, "takes"),
		faults:   rapid.SliceOfN(fault, 0, 60).Draw(t, "faults"),
		backs:    rapid.SliceOfN(fault, 0, 10).Draw(t, "backs"),
		boom:     rapid.IntRange(-9, 3).Draw(t, "boom"),
		doneFail: rapid.IntRange(0, 40).Draw(t, "doneFail"),
		relFail:  rapid.IntRange(0, 40).Draw(t, "relFail"),
		noStore:  rapid.Bool().Draw(t, "noStore"),
		grace:    rapid.SampledFrom([]time.Duration{-1, 0, time.Second}).Draw(t, "grace"),
		until:    rapid.SampledFrom([]time.Duration{time.Nanosecond, time.Second, 20 * time.Second, 10 * time.Minute, 24 * time.Hour}).Draw(t, "until"),
		words:    drawWords(t),
		attempts: rapid.SampledFrom([]int{1, 2, 16}).Draw(t, "attempts"),
	}
}

// play runs the script and returns everything that happened, in order.
func (sc script) play(t *testing.T) (events []string, ends map[string]error) {
	synctest.Test(t, func(t *testing.T) {
		s := sc.stage(t)
		o := options()
		o.Grace, o.MaxAttempts = sc.grace, sc.attempts
		s.start(o)
		for _, id := range sc.ids {
			s.deliver = append(s.deliver, delivery(id))
		}
		speaking := s.speaking(sc.words)
		s.run(sc.until, s.deliver...)
		speaking.Wait()
		events, ends = s.events, s.ends
	})
	return events, ends
}

// stage is the scene of a script.
func (sc script) stage(t *testing.T) *scene {
	s := newScene(t)
	s.answers, s.takes, s.faults, s.backs = slices.Clone(sc.answers), sc.takes, slices.Clone(sc.faults), slices.Clone(sc.backs)
	s.boom, s.doneFail, s.relFail, s.noStore = sc.boom, sc.doneFail, sc.relFail, sc.noStore
	return s
}

// speaking has the application say one or two words of each call.
func (s *scene) speaking(all []word) *sync.WaitGroup {
	var speaking sync.WaitGroup
	words := slices.Clone(all)
	s.during = func(c *push.Call) {
		s.mu.Lock()
		n := min(1+len(words)%2, len(words))
		said := words[:n]
		words = words[n:]
		s.mu.Unlock()
		for _, w := range said {
			speaking.Go(func() { s.speak(c.ID, c.Delivery.Identity, w) })
		}
	}
	return &speaking
}

func (s *scene) speak(id, identity string, w word) {
	time.Sleep(w.after)
	ctx := context.Background()
	switch w.what {
	case "ack":
		s.mu.Lock()
		at := len(s.events)
		s.note("word %s", identity)
		s.mu.Unlock()
		if _, err := s.leases.Ack(ctx, id); err != nil {
			s.mu.Lock()
			s.events[at] = "refused " + identity
			s.mu.Unlock()
		}
	case "nack", "dead":
		_ = s.leases.Nack(id, Nack{Delay: w.after, DeadLetter: w.what == "dead"}) // refused or not
	case "extend":
		_, _ = s.leases.Extend(ctx, id, time.Minute+w.after)
	}
}

// TestNoAckWithoutAReason: whatever the handler answers, the store and the
// broker refuse, and whenever the gate is stopped, each ack has its own reason
// before it.
func TestNoAckWithoutAReason(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		sc := drawScript(rt)
		events, _ := sc.play(t)
		if bad := unfounded(events); bad != "" {
			rt.Fatalf("%s\n%+v\n  %s", bad, sc, strings.Join(events, "\n  "))
		}
		if t.Failed() {
			rt.Fatalf("a delivery was given up: %+v", sc)
		}
	})
}

// unfounded names the first ack without a reason of its own. One 200, one ack by
// ID that was not refused, one repeat or one confirmed send-back founds one ack.
func unfounded(events []string) string {
	reasons := map[string]int{}
	for i, e := range events {
		what, id, _ := strings.Cut(e, " ")
		switch what {
		case "200", "back", "dead", "word":
			if !strings.HasPrefix(id, "refused") {
				reasons[id]++
			}
		case "repeat":
			reasons[strings.TrimPrefix(id, "id:")]++
		case "ack":
			if reasons[id]--; reasons[id] < 0 {
				return fmt.Sprintf("event %d acks %s without a reason", i, id)
			}
		}
	}
	return ""
}

// TestUnfoundedSees: the check itself can fail.
func TestUnfoundedSees(t *testing.T) {
	for _, events := range [][]string{
		{"ack a"}, {"call a", "ack a"}, {"200 b", "ack a"}, {"back refused a", "ack a"}, {"200 a", "ack a", "ack a"}, {"refused a", "ack a"}, {"ack a", "200 a"},
	} {
		if unfounded(events) == "" {
			t.Errorf("%v passes", events)
		}
	}
}
