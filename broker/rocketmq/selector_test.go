package rocketmq

import (
	"log/slog"
	"math/rand/v2"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/apache/rocketmq-client-go/v2/primitive"

	"github.com/remora-mq/remora/broker"
)

func queues(brokers string, each int) []*primitive.MessageQueue {
	var all []*primitive.MessageQueue
	for b := range strings.SplitSeq(brokers, "") {
		for id := range each {
			all = append(all, &primitive.MessageQueue{Topic: "t", BrokerName: b, QueueId: id})
		}
	}
	return all
}

func testSelector() *selector { return newSelector(newBreakers(slog.New(slog.DiscardHandler))) }

// choose is the choice for so many messages.
func choose(s *selector, key string, messages int, mqs []*primitive.MessageQueue) choice {
	a := s.begin("", key, messages)
	defer s.end(a)
	s.Select(&primitive.Message{Topic: "t", Queue: &a.ticket}, mqs, "")
	return s.chosen(a)
}

func pick(s *selector, key string, mqs []*primitive.MessageQueue) (name string, others bool) {
	c := choose(s, key, 1, mqs)
	return queueName(c.queue), c.others
}

// The same key, the same queue: in every process, in whatever order the queues
// were learnt. The literals would change with the hash.
func TestKeysKeepTheirQueue(t *testing.T) {
	want := map[string]string{"order-1": "b/1", "order-2": "b/0", "客户": "a/3"}
	for range 20 {
		mqs := queues("ab", 4)
		rand.Shuffle(len(mqs), func(i, j int) { mqs[i], mqs[j] = mqs[j], mqs[i] })
		first := *mqs[0]
		for key, queue := range want {
			if got, _ := pick(testSelector(), key, mqs); got != queue {
				t.Fatalf("key %s: queue %s, want %s", key, got, queue)
			}
		}
		if *mqs[0] != first {
			t.Fatal("the library's slice was sorted in place")
		}
	}
}

func TestMessagesWithoutKeyTakeTurns(t *testing.T) {
	s, seen := testSelector(), map[string]int{}
	for range 16 {
		name, _ := pick(s, "", queues("ab", 4))
		seen[name]++
	}
	for _, q := range queues("ab", 4) {
		if seen[queueName(q)] != 2 {
			t.Errorf("queues chosen: %v, want each twice", seen)
			break
		}
	}
}

func TestBrokerThatTakesNotThisTopicIsAvoidedForAWhile(t *testing.T) {
	now := time.Now()
	s := testSelector()
	s.now = func() time.Time { return now }
	s.penalise("t", "a")
	for range 8 {
		if name, others := pick(s, "", queues("ab", 2)); name[0] != 'b' || others {
			t.Fatalf("chose %s while a is avoided, others %t", name, others)
		}
	}
	if name, _ := pick(s, "order-9", queues("a", 2)); name[0] != 'a' {
		t.Errorf("a key went to %s", name)
	}
	if name, others := pick(s, "", queues("a", 2)); name[0] != 'a' || others {
		t.Errorf("with no other broker: %s, others %t", name, others)
	}
	s.penalise("t", "b")
	if name, _ := pick(s, "", queues("ab", 2)); name == "" {
		t.Error("nothing is chosen when all failed")
	}
	now = now.Add(penaltyTime)
	seen := map[byte]bool{}
	for range 4 {
		name, others := pick(s, "", queues("ab", 2))
		if seen[name[0]] = true; !others {
			t.Errorf("%s has no others", name)
		}
	}
	if !seen['a'] || !seen['b'] {
		t.Errorf("after the penalty: %v", seen)
	}
}

func TestGivenUpAttemptSelectsNothing(t *testing.T) {
	s := testSelector()
	a := s.begin("", "", 1)
	s.end(a)
	if q := s.Select(&primitive.Message{Queue: &a.ticket}, queues("a", 1), ""); q != nil {
		t.Errorf("chose %v", q)
	}
	b := s.begin("", "", 1)
	if q := s.Select(&primitive.Message{Queue: &b.ticket}, nil, ""); q != nil {
		t.Errorf("chose %v of no queues", q)
	}
	s.chosen(b) // given up, and still in the library
	if q := s.Select(&primitive.Message{Queue: &b.ticket}, queues("a", 1), ""); q != nil {
		t.Errorf("chose %v after the attempt was given up", q)
	}
}

// A broker that fails gets one message at a time, also while another one takes
// everything else.
func TestOpenBreakerLetsOneMessageThrough(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, mqs := testSelector(), queues("ab", 2)
		keyOfA := "order-9"
		if name, _ := pick(s, keyOfA, mqs); name[0] != 'a' {
			t.Fatalf("%s is on %s", keyOfA, name)
		}
		s.breakers.end("a", false, &broker.SendError{Status: "SLAVE_NOT_AVAILABLE", Stored: true})
		for range 8 {
			if c := choose(s, "", 1, mqs); c.queue.BrokerName != "b" || c.probe || c.others {
				t.Errorf("not due yet: %+v", c)
			}
		}
		if c := choose(s, keyOfA, 1, mqs); c.queue != nil || c.refused != "a" || !c.others {
			t.Errorf("a key of a: %+v", c)
		}
		if s.probe("t") {
			t.Error("a probe is due at once")
		}
		time.Sleep(probeWait.Initial)
		if !s.probe("t") || s.probe("another") {
			t.Error("the topic's next message should probe, and only that topic's")
		}
		for _, key := range []string{"", keyOfA} {
			if c := choose(s, key, 2, mqs); c.queue != nil && c.queue.BrokerName != "b" {
				t.Errorf("a batch with key %q went to %+v", key, c)
			}
		}
		if c := choose(s, "", 1, mqs); c.queue == nil || c.queue.BrokerName != "a" || !c.probe || !c.others {
			t.Errorf("the probe: %+v", c)
		}
		if c := choose(s, keyOfA, 1, mqs); c.queue != nil {
			t.Errorf("beside the probe: %+v", c)
		}
		s.breakers.end("a", true, nil)
		if c := choose(s, keyOfA, 2, mqs); c.queue == nil || c.probe {
			t.Errorf("after SEND_OK: %+v", c)
		}
	})
}

func TestAllBrokersFail(t *testing.T) {
	s, mqs := testSelector(), queues("ab", 1)
	for _, b := range []string{"a", "b"} {
		s.breakers.end(b, false, &broker.SendError{Status: statusTimeout})
	}
	if c := choose(s, "", 1, mqs); c.queue != nil || c.refused == "" || c.others {
		t.Errorf("%+v", c)
	}
}

// sendingTo is the choice for messages that are bound to a queue.
func sendingTo(s *selector, queue string, messages int, mqs []*primitive.MessageQueue) choice {
	a := s.begin(queue, "any", messages)
	defer s.end(a)
	s.Select(&primitive.Message{Topic: "t", Queue: &a.ticket}, mqs, "")
	return s.chosen(a)
}

// What is bound to a queue goes there or nowhere; one that is gone is told from
// one whose broker is.
func TestBoundMessagesGoToTheirQueue(t *testing.T) {
	s, mqs := testSelector(), queues("ab", 2)
	if c := sendingTo(s, "b/1", 3, mqs); queueName(c.queue) != "b/1" || !c.others {
		t.Errorf("%+v", c)
	}
	if c := sendingTo(s, "b/7", 3, mqs); c.queue != nil || c.missing != "b/7" || !c.gone || !c.others {
		t.Errorf("a queue that is gone: %+v", c)
	}
	if c := sendingTo(s, "b/1", 3, queues("a", 2)); c.queue != nil || c.missing != "b/1" || c.gone || !c.others {
		t.Errorf("a broker that is gone: %+v", c)
	}
	s.breakers.end("b", false, &broker.SendError{Status: statusTimeout})
	if c := sendingTo(s, "b/1", 3, mqs); c.queue != nil || c.refused != "b" {
		t.Errorf("a broker that fails: %+v", c)
	}
}

// Instead of a queue that is not served another one is named, of a broker that
// does not fail, and always the same.
func TestInsteadOfAQueue(t *testing.T) {
	s := testSelector()
	if to := s.instead("t", "b/1"); to != "" || s.serves("t", "b/1") {
		t.Errorf("nothing is known, and %q is named", to)
	}
	pick(s, "", queues("abc", 4))
	s.breakers.end("b", false, &broker.SendError{Status: statusTimeout})
	s.penalise("t", "c")
	first := s.instead("t", "b/1")
	if brokerOf(first) != "a" || s.instead("t", "b/1") != first || s.serves("t", "b/1") || !s.serves("t", "a/0") {
		t.Errorf("%q is named", first)
	}
	s.breakers.end("a", false, &broker.SendError{Status: statusTimeout})
	if to := s.instead("t", "b/1"); to != "" {
		t.Errorf("%q is named, and all fail", to)
	}
	s = testSelector()
	pick(s, "", queues("a", 2))
	if to := s.instead("t", "a/7"); brokerOf(to) != "a" {
		t.Errorf("%q instead of a queue that is gone", to)
	}
	if to := s.instead("t", "a/1"); to != "" {
		t.Errorf("%q instead of a queue of the only broker", to)
	}
}
