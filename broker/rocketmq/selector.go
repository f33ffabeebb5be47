package rocketmq

import (
	"cmp"
	"fmt"
	"hash/fnv"
	"slices"
	"sync"
	"time"

	"github.com/apache/rocketmq-client-go/v2/primitive"
)

// penaltyTime is how long a broker that failed is avoided, while there is
// another one that has the topic.
const penaltyTime = 10 * time.Second

// selector chooses the queue of an attempt. The library's own follow the order
// in which it learnt the queues, which differs between processes and after a
// refresh (internal/route.go:496), and can't see the key of a batch.
type selector struct {
	mu       sync.Mutex
	attempts map[*primitive.MessageQueue]*attempt
	next     map[string]int // by topic: round robin
	penalty  map[string]time.Time
	now      func() time.Time
}

// attempt is what the selector is told and tells about one call of SendSync.
// The library passes nothing but the field Queue of a batch's first message on
// to the selector (producer/producer.go:143), so ticket identifies the attempt.
type attempt struct {
	ticket      primitive.MessageQueue
	orderingKey string

	queue  *primitive.MessageQueue // chosen; nil before
	others bool                    // another broker would have taken it
}

func newSelector() *selector {
	return &selector{
		attempts: map[*primitive.MessageQueue]*attempt{},
		next:     map[string]int{},
		penalty:  map[string]time.Time{},
		now:      time.Now,
	}
}

func (s *selector) begin(orderingKey string) *attempt {
	a := &attempt{orderingKey: orderingKey}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.attempts[&a.ticket] = a
	return a
}

func (s *selector) end(a *attempt) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.attempts, &a.ticket)
}

// chosen returns the queue, nil if it never came to that, and whether another
// broker has the topic too.
func (s *selector) chosen(a *attempt) (queue *primitive.MessageQueue, others bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return a.queue, a.others
}

// penalise makes attempts without an ordering key avoid the broker for a while.
func (s *selector) penalise(broker string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.penalty[broker] = s.now().Add(penaltyTime)
}

// Select implements producer.QueueSelector. The slice is shared with other
// calls: it is copied before it is sorted.
func (s *selector) Select(msg *primitive.Message, queues []*primitive.MessageQueue, _ string) *primitive.MessageQueue {
	sorted := slices.Clone(queues)
	slices.SortFunc(sorted, compareQueues)
	s.mu.Lock()
	defer s.mu.Unlock()
	a := s.attempts[msg.Queue]
	if a == nil || len(sorted) == 0 {
		return nil // an attempt that was given up: nothing is sent
	}
	healthy := slices.DeleteFunc(slices.Clone(sorted), func(q *primitive.MessageQueue) bool {
		return s.now().Before(s.penalty[q.BrokerName])
	})
	switch {
	case a.orderingKey != "":
		a.queue = sorted[stableHash(a.orderingKey)%uint64(len(sorted))]
	case len(healthy) > 0:
		a.queue = s.rotate(msg.Topic, healthy)
	default:
		a.queue = s.rotate(msg.Topic, sorted)
	}
	a.others = a.orderingKey == "" && slices.ContainsFunc(healthy, func(q *primitive.MessageQueue) bool {
		return q.BrokerName != a.queue.BrokerName
	})
	return a.queue
}

func (s *selector) rotate(topic string, queues []*primitive.MessageQueue) *primitive.MessageQueue {
	s.next[topic]++
	return queues[s.next[topic]%len(queues)]
}

func compareQueues(a, b *primitive.MessageQueue) int {
	return cmp.Or(cmp.Compare(a.BrokerName, b.BrokerName), cmp.Compare(a.QueueId, b.QueueId))
}

// stableHash is the same in every process and version: FNV-1a, 64 bits.
func stableHash(s string) uint64 {
	h := fnv.New64a()
	h.Write([]byte(s))
	return h.Sum64()
}

// queueName is how queues are called outside of this package: "broker-a/3".
func queueName(q *primitive.MessageQueue) string {
	return fmt.Sprintf("%s/%d", q.BrokerName, q.QueueId)
}
