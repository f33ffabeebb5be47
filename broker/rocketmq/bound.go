package rocketmq

import (
	"context"
	"slices"
	"time"

	"github.com/apache/rocketmq-client-go/v2/primitive"

	"github.com/remora-mq/remora/message"
)

// lookTime bounds how long the name servers are asked for the queues of a topic
// that nothing was sent of yet.
const lookTime = 2 * time.Second

// Queues implements [broker.Binder]: those that the library found for the last
// attempt, or, before the first, those that a name server tells.
func (p *Producer) Queues(ctx context.Context, topic string) []string {
	if !p.sends.enter() {
		return nil
	}
	defer p.sends.leave()
	return p.lane(topic).queues(ctx, topic)
}

// SendTo implements [broker.Binder].
func (p *Producer) SendTo(ctx context.Context, queue string, msgs []*message.Message) ([]message.Confirmation, error) {
	return p.send(ctx, queue, msgs)
}

// Instead implements [broker.Binder].
func (p *Producer) Instead(topic, queue string) string {
	l := p.lane(topic)
	if l.stuck(topic, queue) {
		return ""
	}
	return l.selector.instead(topic, queue)
}

// Serves implements [broker.Binder].
func (p *Producer) Serves(topic, queue string) bool {
	return p.lane(topic).selector.serves(topic, queue)
}

func (l *lane) queues(ctx context.Context, topic string) []string {
	if known := l.selector.queuesOf(topic); known != nil {
		return known
	}
	ctx, cancel := context.WithTimeout(ctx, min(l.timeout, lookTime))
	defer cancel()
	r, err := l.names.route(ctx, topic)
	if err != nil || !r.writable() {
		return nil
	}
	return r.writableQueues()
}

// stuck reports whether a call for the queue was given up and is not over.
func (l *lane) stuck(topic, queue string) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	_, waits := l.tail[topic+"\x00"+queue]
	return waits
}

// learn notes the queues that a topic has.
func (t *topic) learn(sorted []*primitive.MessageQueue) {
	t.brokers = brokersOf(sorted)
	if len(t.queues) == len(sorted) && slices.EqualFunc(t.queues, sorted, isNamed) {
		return
	}
	t.queues = make([]string, len(sorted)) // callers have the one before
	for i, q := range sorted {
		t.queues[i] = queueName(q)
	}
}

func isNamed(name string, q *primitive.MessageQueue) bool { return name == queueName(q) }

func (s *selector) queuesOf(topic string) []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	if t := s.topics[topic]; t != nil {
		return t.queues
	}
	return nil
}

// instead chooses by the name of the queue, so that it stays the same as long as
// the brokers do.
func (s *selector) instead(topic, queue string) string {
	s.mu.Lock()
	defer s.mu.Unlock()
	t := s.topics[topic]
	if t == nil {
		return ""
	}
	there, fits := slices.Contains(t.queues, queue), s.fits(t)
	var able []string
	for _, q := range t.queues {
		name := brokerOf(q)
		if s.breakers.closed(name) && fits(name) && (!there || name != brokerOf(queue)) {
			able = append(able, q)
		}
	}
	if len(able) == 0 {
		return ""
	}
	return able[stableHash(queue)%uint64(len(able))]
}

func (s *selector) serves(topic, queue string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	t := s.topics[topic]
	return t != nil && slices.Contains(t.queues, queue) && s.breakers.closed(brokerOf(queue))
}
