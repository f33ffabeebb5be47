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

	"github.com/remora-mq/remora/broker"
	"github.com/remora-mq/remora/message"
	"github.com/remora-mq/remora/push"
)

// orderedConsumer keeps a broker.Consumer's word of an ordered subscription.
type orderedConsumer struct{ *fakeConsumer }

func (c orderedConsumer) Consume(ctx context.Context, receive broker.Receiver) error {
	lines := map[string][]*message.Delivery{}
	for _, d := range c.deliver {
		lines[d.OrderingKey] = append(lines[d.OrderingKey], d)
	}
	var wg sync.WaitGroup
	places := make(chan struct{}, c.gate.o.Concurrency)
	for _, line := range lines {
		wg.Go(func() {
			for _, d := range line {
				leave, ok := enter(ctx, places, d)
				if !ok {
					return
				}
				acked := c.receive(ctx, d, receive)
				leave()
				if !acked {
					return // the context is done: no later one has its turn
				}
			}
		})
	}
	wg.Wait()
	return nil
}

func (s *scene) inOrder(o Options) *scene {
	o.Ordered = true
	s.start(o)
	s.gate.consumer = orderedConsumer{(*fakeConsumer)(s)}
	return s
}

// keyed is a delivery of "a0" with the ordering key "a".
func keyed(id string) *message.Delivery {
	d := delivery(id)
	d.OrderingKey = strings.TrimRight(id, "0123456789")
	return d
}

func wantEvents(t *testing.T, s *scene, id string, want ...string) {
	t.Helper()
	var got []string
	for _, e := range s.events {
		if what, of, _ := strings.Cut(e, " "); strings.HasSuffix(of, id) && what != "done" && what != "200" {
			got = append(got, what)
		}
	}
	if !slices.Equal(got, want) {
		t.Errorf("%s: %v, want %v", id, got, want)
	}
}

func TestOrderedRetriesInPlace(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newScene(t)
		s.answers = []push.Answer{failed, failed, failed, failed, failed, failed} // half a minute and more of waits
		parked := false
		first := keyed("a0")
		first.Park = func() { parked = true }
		s.inOrder(options()).run(time.Hour, first, keyed("a1"))
		wantEvents(t, s, "a0", "call", "call", "call", "call", "call", "call", "call", "ack")
		wantEvents(t, s, "a1", "call", "ack")
		if s.events[len(s.events)-1] != "ack a1" || !parked {
			t.Errorf("parked: %t; %v", parked, s.events)
		}
	})
}

func TestOrderedBlocksItsKey(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newScene(t)
		s.answers = []push.Answer{failed, failed, failed, failed, failed}
		o := options()
		o.MaxAttempts, o.Block = 2, true
		var told [][]Blocked
		s.during = func(*push.Call) { told = append(told, s.gate.Blocked()) }
		began := time.Now()
		s.inOrder(o).run(time.Hour, keyed("a0"), keyed("a1"))
		wantEvents(t, s, "a0", "call", "call", "call", "call", "call", "call", "ack")
		wantEvents(t, s, "a1", "call", "ack")
		if len(told[0]) != 0 || len(told[len(told)-1]) != 0 || len(s.gate.Blocked()) != 0 {
			t.Errorf("blocked at first, and in the end: %v", told)
		}
		if first := told[1][0]; first.Exhausted || first.Attempts != 1 || first.OrderingKey != "a" || first.MessageID != "a0" || !first.Since.Equal(began) {
			t.Errorf("after the first attempt: %+v", first)
		}
		if last := told[4][0]; !last.Exhausted || last.Attempts != 4 || last.Subscription != "billing" || last.Queue != "broker-a/0" {
			t.Errorf("after the last attempt: %+v", last)
		}
	})
}

func TestOrderedDeadLetterLetsItsKeyGoOn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newScene(t)
		s.answers = []push.Answer{failed, failed}
		s.backs = []error{errFake} // refused once: the key waits
		o := options()
		o.MaxAttempts = 2
		s.inOrder(o).run(time.Hour, keyed("a0"), keyed("a1"))
		wantEvents(t, s, "a0", "call", "call", "dead", "dead", "ack")
		wantEvents(t, s, "a1", "call", "ack")
		if !slices.Equal(s.events[len(s.events)-3:], []string{"200 a1", "done id:a1", "ack a1"}) {
			t.Error(s.events)
		}
	})
}

func TestRejectedDeadLetterInOrder(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newScene(t)
		s.answers = []push.Answer{rejected}
		o := options()
		o.Block = true // the handler has decided
		s.inOrder(o).run(time.Hour, keyed("a0"), keyed("a1"))
		wantEvents(t, s, "a0", "call", "dead", "ack")
		wantEvents(t, s, "a1", "call", "ack")
	})
}

// A message that is leased keeps its key waiting; one whose lease ends is delivered
// again, at the cost of no attempt, and not sent back.
func TestLeaseKeepsItsKeyWaiting(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newScene(t)
		s.answers = []push.Answer{accepted(time.Minute), accepted(time.Minute)}
		s.during = func(c *push.Call) {
			if len(s.calls) == 2 {
				go s.speak(c.ID, c.Delivery.Identity, word{30 * time.Second, "ack"})
			}
		}
		o := options()
		o.MaxAttempts = 1
		s.inOrder(o).run(time.Hour, keyed("a0"), keyed("a1"))
		wantEvents(t, s, "a0", "call", "call", "word", "ack")
		wantEvents(t, s, "a1", "call", "ack")
		if s.calls[1].Attempt != 1 {
			t.Errorf("the lease that ended cost an attempt: %d", s.calls[1].Attempt)
		}
	})
}

// Who pulls gets one message of a key at a time, and the next after its ack.
func TestPulledInOrder(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newScene(t)
		s.pulls = true
		s.inOrder(options())
		after(time.Minute, func() {
			for range 2 { // a0 b0, then a1 b1
				time.Sleep(time.Second)
				got := s.pull(Pull{Max: 10, Wait: time.Minute, Lease: time.Minute})
				if len(got) != 2 {
					t.Errorf("pulled %d messages at once, of two keys", len(got))
				}
				time.Sleep(10 * time.Second)
				for _, one := range got {
					s.ack(one.ID)
				}
			}
		})
		s.run(time.Hour, keyed("a0"), keyed("a1"), keyed("b0"), keyed("b1"))
		for _, key := range []string{"a", "b"} {
			if first, second := slices.Index(s.events, "ack "+key+"0"), slices.Index(s.events, "pulled "+key+"1, attempt 1"); first < 0 || second < first {
				t.Errorf("%s: %v", key, s.events)
			}
		}
	})
}

// What a lost process left in progress keeps its key waiting, too.
func TestInProgressKeepsItsKeyWaiting(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newScene(t)
		s.inOrder(options())
		d := keyed("a0")
		if _, err := s.store().Begin(t.Context(), s.gate.hold(d).key, fingerprint(d), time.Minute); err != nil {
			t.Fatal(err)
		}
		s.run(time.Hour, d, keyed("a1"))
		wantEvents(t, s, "a0", "call", "ack")
		if s.calls[0].Delivery.Identity != "a0" {
			t.Error("a1 was called before a0")
		}
	})
}

// TestOrderIsKept: whatever happens, no message of a key is called for before the one
// before it was acked, none is sent back but as a dead letter, and none is acked
// without a reason.
func TestOrderIsKept(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		sc := drawScript(rt)
		block := rapid.Bool().Draw(rt, "block")
		n := rapid.IntRange(1, 4).Draw(rt, "each")
		var events []string
		synctest.Test(t, func(t *testing.T) {
			s := sc.stage(t)
			o := options()
			o.Grace, o.MaxAttempts, o.Block = sc.grace, sc.attempts, block
			s.inOrder(o)
			var ds []*message.Delivery
			for i := range n {
				ds = append(ds, keyed(fmt.Sprint("a", i)), keyed(fmt.Sprint("b", i)))
			}
			speaking := s.speaking(sc.words)
			s.run(sc.until, ds...)
			speaking.Wait()
			events = s.events
		})
		bad := unfounded(events)
		if bad == "" {
			bad = disordered(events)
		}
		if bad != "" || t.Failed() {
			rt.Fatalf("%s\n%+v\n  %s", bad, sc, strings.Join(events, "\n  "))
		}
	})
}

// disordered names the first event that is out of its key's order.
func disordered(events []string) string {
	acked := map[string]int{}
	for i, e := range events {
		what, id, _ := strings.Cut(e, " ")
		var n int
		switch what {
		case "back":
			return fmt.Sprintf("event %d gives a message's place up: %s", i, e)
		case "call", "ack":
			key := strings.TrimRight(id, "0123456789")
			if _, err := fmt.Sscanf(id, key+"%d", &n); err != nil || n != acked[key] {
				return fmt.Sprintf("event %d, %s, while %d of the key are acked", i, e, acked[key])
			}
			if what == "ack" {
				acked[key]++
			}
		}
	}
	return ""
}

// TestDisorderedSees: the check itself can fail.
func TestDisorderedSees(t *testing.T) {
	for _, events := range [][]string{
		{"call a1"}, {"call a0", "call a1"}, {"call a0", "ack a0", "call a0"}, {"call a0", "back a0"}, {"call a0", "ack a0", "call b1"}, {"ack a1"},
	} {
		if disordered(events) == "" {
			t.Errorf("%v passes", events)
		}
	}
}
