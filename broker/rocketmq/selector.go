package rocketmq

import (
	"cmp"
	"fmt"
	"hash/fnv"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/apache/rocketmq-client-go/v2/primitive"
)

// penaltyTime is how long a broker that did not take a topic is avoided for it,
// while another one has the topic too.
const penaltyTime = 10 * time.Second

// selector chooses the queue of an attempt. The library's own follow the order
// in which it learnt the queues, which differs between processes and after a
// refresh (internal/route.go:496), and can't see the key of a batch.
type selector struct {
	breakers *breakers

	mu       sync.Mutex
	attempts map[*primitive.MessageQueue]*attempt
	topics   map[string]*topic
	now      func() time.Time
}

// topic is what is known of a topic's brokers.
type topic struct {
	turn    int                  // round robin
	brokers []string             // that had queues of it, when it was last sent
	queues  []string             // that it had then, sorted
	penalty map[string]time.Time // of brokers; until when
}

// attempt is what the selector is told and tells about one call of SendSync.
// The library passes nothing but the field Queue of a batch's first message on
// to the selector (producer/producer.go:143), so ticket identifies the attempt.
type attempt struct {
	ticket      primitive.MessageQueue
	orderingKey string
	queue       string // that its messages are bound to; "": the selector chooses
	messages    int
	room        *[]byte // of its batch; nil: it has none
	choice      choice
	over        bool // it was given up: nothing may be sent any more
}

// choice is what came of an attempt's choice of a queue.
type choice struct {
	queue   *primitive.MessageQueue // nil: none, so nothing was sent
	probe   bool                    // it probes the queue's broker
	refused string                  // the broker whose breaker let no queue be chosen
	others  bool                    // another broker takes such messages
	missing string                  // the queue that was asked for and is not there, so nothing was sent
	gone    bool                    // and its broker has others of the topic
}

func newSelector(b *breakers) *selector {
	return &selector{
		breakers: b,
		attempts: map[*primitive.MessageQueue]*attempt{},
		topics:   map[string]*topic{},
		now:      time.Now,
	}
}

func (s *selector) begin(queue, orderingKey string, messages int) *attempt {
	a := &attempt{orderingKey: orderingKey, queue: queue, messages: messages}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.attempts[&a.ticket] = a
	return a
}

// end forgets an attempt whose call has returned.
func (s *selector) end(a *attempt) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.attempts, &a.ticket)
}

// chosen returns the choice. A call that has not come so far never will.
func (s *selector) chosen(a *attempt) choice {
	s.mu.Lock()
	defer s.mu.Unlock()
	a.over = true
	return a.choice
}

// penalise makes messages of the topic without an ordering key avoid the broker
// for a while.
func (s *selector) penalise(topic, broker string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.topic(topic).penalty[broker] = s.now().Add(penaltyTime)
}

// probe reports whether a broker of the topic waits for a message to probe it.
func (s *selector) probe(topic string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	t := s.topics[topic]
	return t != nil && slices.ContainsFunc(t.brokers, s.breakers.due)
}

func (s *selector) topic(name string) *topic {
	t := s.topics[name]
	if t == nil {
		t = &topic{penalty: map[string]time.Time{}}
		s.topics[name] = t
	}
	return t
}

// Select implements producer.QueueSelector. The slice is shared with other
// calls: it is copied before it is sorted.
func (s *selector) Select(msg *primitive.Message, queues []*primitive.MessageQueue, _ string) *primitive.MessageQueue {
	sorted := slices.Clone(queues)
	slices.SortFunc(sorted, compareQueues)
	s.mu.Lock()
	defer s.mu.Unlock()
	a := s.attempts[msg.Queue]
	if a == nil || a.over || len(sorted) == 0 {
		return nil // an attempt that was given up: nothing is sent
	}
	t := s.topic(msg.Topic)
	t.learn(sorted)
	switch {
	case a.queue != "":
		a.choice = s.asked(a, t, sorted)
	case a.orderingKey != "":
		a.choice = s.bound(a, t, sorted[stableHash(a.orderingKey)%uint64(len(sorted))])
	default:
		a.choice = s.free(a, t, sorted)
	}
	return a.choice.queue
}

// asked is the choice for messages that are bound to a queue.
func (s *selector) asked(a *attempt, t *topic, sorted []*primitive.MessageQueue) choice {
	i := slices.IndexFunc(sorted, func(q *primitive.MessageQueue) bool { return queueName(q) == a.queue })
	if i >= 0 {
		return s.bound(a, t, sorted[i])
	}
	name := brokerOf(a.queue)
	return choice{missing: a.queue, gone: slices.Contains(t.brokers, name), others: s.others(t, name)}
}

// bound is the choice for what has to go to one queue: that, or none while the
// breaker of its broker is open.
func (s *selector) bound(a *attempt, t *topic, q *primitive.MessageQueue) choice {
	c := choice{others: s.others(t, q.BrokerName)}
	switch {
	case s.breakers.closed(q.BrokerName):
		c.queue = q
	case a.messages == 1 && s.breakers.probe(q.BrokerName):
		c.queue, c.probe = q, true
	default:
		c.refused = q.BrokerName
	}
	return c
}

// free is the choice for what may go anywhere. A single message probes first:
// in a cluster that is well but for one broker there may be no other chance.
func (s *selector) free(a *attempt, t *topic, sorted []*primitive.MessageQueue) choice {
	if a.messages == 1 {
		if i := slices.IndexFunc(t.brokers, s.breakers.probe); i >= 0 {
			return choice{queue: t.rotate(onBroker(sorted, t.brokers[i])), probe: true, others: s.others(t, t.brokers[i])}
		}
	}
	closed := keep(sorted, s.breakers.closed)
	if len(closed) == 0 {
		return choice{refused: t.brokers[0]}
	}
	if fit := keep(closed, s.fits(t)); len(fit) > 0 {
		closed = fit
	}
	q := t.rotate(closed)
	return choice{queue: q, others: s.others(t, q.BrokerName)}
}

// others reports whether a broker other than name takes messages of the topic.
func (s *selector) others(t *topic, name string) bool {
	fits := s.fits(t)
	return slices.ContainsFunc(t.brokers, func(b string) bool { return b != name && s.breakers.closed(b) && fits(b) })
}

func (s *selector) fits(t *topic) func(broker string) bool {
	return func(broker string) bool { return !s.now().Before(t.penalty[broker]) }
}

func (t *topic) rotate(queues []*primitive.MessageQueue) *primitive.MessageQueue {
	t.turn++
	return queues[t.turn%len(queues)]
}

// brokersOf returns the brokers of queues, sorted as they are.
func brokersOf(sorted []*primitive.MessageQueue) (names []string) {
	for _, q := range sorted {
		if len(names) == 0 || names[len(names)-1] != q.BrokerName {
			names = append(names, q.BrokerName)
		}
	}
	return names
}

func onBroker(queues []*primitive.MessageQueue, name string) []*primitive.MessageQueue {
	return keep(queues, func(b string) bool { return b == name })
}

// keep returns the queues on brokers that fit.
func keep(queues []*primitive.MessageQueue, fits func(broker string) bool) (kept []*primitive.MessageQueue) {
	for _, q := range queues {
		if fits(q.BrokerName) {
			kept = append(kept, q)
		}
	}
	return kept
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

// brokerOf is the broker in the name of a queue.
func brokerOf(queue string) string { return queue[:max(0, strings.LastIndexByte(queue, '/'))] }

// queueName is how queues are called outside of this package: "broker-a/3".
func queueName(q *primitive.MessageQueue) string {
	return fmt.Sprintf("%s/%d", q.BrokerName, q.QueueId)
}
