//go:build !race

package rocketmq

import (
	"errors"
	"testing"
	"time"

	"github.com/remora-mq/remora/broker"
	"github.com/remora-mq/remora/message"
	rmq "github.com/remora-mq/remora/test/rocketmq"
)

// sending is a topic with one queue and a producer.
type sending struct {
	*rmq.Cluster
	t        *testing.T
	producer *Producer
	topic    string
}

func newSending(t *testing.T) *sending {
	t.Helper()
	s := &sending{Cluster: cluster(t), t: t, topic: uniqueName("topic")}
	s.CreateTopic(t, s.topic, 1)
	first := newProducer(t, s.Cluster)
	s.producer = first
	t.Cleanup(func() { first.Close(); s.producer.Close() }) // a test may have another; again it does nothing
	return s
}

// patient is a producer that gives each attempt so long.
func (s *sending) patient(timeout time.Duration) *Producer {
	s.t.Helper()
	p, err := NewProducer(ProducerOptions{NameServers: s.NameServerAddrs(), Group: "remora", AttemptTimeout: timeout}, testLog(s.t))
	must(s.t, err)
	s.t.Cleanup(func() { must(s.t, p.Close()) })
	return p
}

func (s *sending) try(m *message.Message) error {
	_, err := s.attempt(m)
	return err
}

// attempt makes one, and others while the broker is busy: on a machine that is,
// it refuses for a moment what has waited 200 ms for one of its threads
// (BrokerFastFailure), and has not stored it.
func (s *sending) attempt(m *message.Message) ([]message.Confirmation, error) {
	for deadline := time.Now().Add(time.Minute); ; time.Sleep(50 * time.Millisecond) {
		confirmed, err := s.producer.Send(s.t.Context(), []*message.Message{m})
		if se, ok := errors.AsType[*broker.SendError](err); !ok || se.Status != "SYSTEM_BUSY" || time.Now().After(deadline) {
			return confirmed, err
		}
	}
}

func (s *sending) broker() *rmq.Broker { return s.Brokers[0] }

func (s *sending) stored(want int64) int64 {
	s.t.Helper()
	return s.queued(s.topic, want)
}

// queued counts the messages of a topic's first queue. The broker builds it
// from its log a moment after it has answered, so fewer than want are given time.
func (s *sending) queued(topic string, want int64) int64 {
	s.t.Helper()
	for deadline := time.Now().Add(20 * time.Second); ; {
		n, err := s.broker().MaxOffset(topic, 0)
		must(s.t, err)
		if n >= want || time.Now().After(deadline) {
			return n
		}
	}
}

// until tries again and again, as the forwarder would, and returns the errors.
func (s *sending) until(m *message.Message) []error {
	s.t.Helper()
	var failed []error
	for deadline := time.Now().Add(time.Minute); ; {
		err := s.try(m)
		if err == nil {
			return failed
		}
		failed = append(failed, err)
		if time.Now().After(deadline) {
			s.t.Fatalf("not sent in a minute: %v", err)
		}
		time.Sleep(100 * time.Millisecond)
	}
}
