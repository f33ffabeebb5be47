package rocketmq

import (
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	"github.com/apache/rocketmq-client-go/v2/primitive"
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

func pick(s *selector, key string, mqs []*primitive.MessageQueue) (name string, others bool) {
	a := s.begin(key)
	defer s.end(a)
	s.Select(&primitive.Message{Topic: "t", Queue: &a.ticket}, mqs, "")
	queue, others := s.chosen(a)
	return queueName(queue), others
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
			if got, _ := pick(newSelector(), key, mqs); got != queue {
				t.Fatalf("key %s: queue %s, want %s", key, got, queue)
			}
		}
		if *mqs[0] != first {
			t.Fatal("the library's slice was sorted in place")
		}
	}
}

func TestMessagesWithoutKeyTakeTurns(t *testing.T) {
	s, seen := newSelector(), map[string]int{}
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

func TestFailedBrokerIsAvoidedForAWhile(t *testing.T) {
	now := time.Now()
	s := newSelector()
	s.now = func() time.Time { return now }
	s.penalise("a")
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
	s.penalise("b")
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
	s := newSelector()
	a := s.begin("")
	s.end(a)
	if q := s.Select(&primitive.Message{Queue: &a.ticket}, queues("a", 1), ""); q != nil {
		t.Errorf("chose %v", q)
	}
	b := s.begin("")
	if q := s.Select(&primitive.Message{Queue: &b.ticket}, nil, ""); q != nil {
		t.Errorf("chose %v of no queues", q)
	}
}
