//go:build !race

package rocketmq

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/remora-mq/remora/broker"
	"github.com/remora-mq/remora/message"
	rmq "github.com/remora-mq/remora/test/rocketmq"
)

// These tests use the shared cluster and break it; none may run in parallel.

var sequence atomic.Uint64

func wireTestMessage(topic, body string) *message.Message {
	now := time.Now()
	return &message.Message{
		ID:    message.NewID(message.SpoolID{byte(os.Getpid()), 1, 2, 3, 4}, uint32(now.Unix()), sequence.Add(1), now),
		Topic: topic, Body: []byte(body),
	}
}

func uniqueName(what string) string {
	return fmt.Sprintf("%s-%d-%d", what, time.Now().UnixNano(), sequence.Add(1))
}

// The evidence for SYSTEM_ERROR being unknown: a broker that fails after the
// append answers with it.
func TestSystemErrorMayHaveStored(t *testing.T) {
	s := newSending(t)
	must(t, s.try(wireTestMessage(s.topic, "good")))
	heal := realBackend{s.Cluster}.configure(t, "flushDiskType", "SYNC_FLUSH", "ASYNC_FLUSH") // ClassCastException
	err := s.try(wireTestMessage(s.topic, "answered with code 1"))
	heal()
	if se := asSendError(t, err); se.Status != "SYSTEM_ERROR" || se.Outcome != unknown {
		t.Errorf("got %v", err)
	}
	s.until(wireTestMessage(s.topic, "good"))
	if n := s.stored(3); n != 3 {
		t.Errorf("%d messages are stored, want 3: the one answered with an error among them", n)
	}
}

// The library would give up after 3 s, before a broker whose slave is late says
// that it has the message.
func TestAttemptTimeoutIsTheOnlyLimit(t *testing.T) {
	s := newSending(t)
	s.producer = s.patient(time.Minute)
	must(t, s.try(wireTestMessage(s.topic, "before")))
	b := realBackend{s.Cluster}
	b.StoreWithoutOK(t)
	b.configure(t, "slaveTimeout", "3500", "3000")
	err := s.try(wireTestMessage(s.topic, "x"))
	if se := asSendError(t, err); se.Status != "FLUSH_SLAVE_TIMEOUT" || !se.Stored {
		t.Errorf("got %+v", se)
	}
}

func asSendError(t *testing.T, err error) *broker.SendError {
	t.Helper()
	se, ok := errors.AsType[*broker.SendError](err)
	if !ok {
		t.Fatalf("%v (%T) is no *broker.SendError", err, err)
	}
	return se
}

func TestPausedBroker(t *testing.T) {
	s := newSending(t)
	must(t, s.try(wireTestMessage(s.topic, "before")))
	must(t, s.broker().Pause())
	t.Cleanup(func() { must(t, s.broker().Resume()) })
	m := wireTestMessage(s.topic, "while paused")
	ctx, cancel := context.WithTimeout(t.Context(), time.Second)
	defer cancel()
	began := time.Now()
	_, err := s.producer.Send(ctx, []*message.Message{m})
	if took := time.Since(began); took > s.producer.lane(s.topic).timeout {
		t.Errorf("a deadline of 1 s was kept in %v", took)
	}
	if se := asSendError(t, err); se.Outcome != unknown || se.Status != statusTimeout || se.Queue != s.broker().Name()+"/0" {
		t.Errorf("got %+v", se)
	}
	must(t, s.broker().Resume())
	s.until(m)
	received := consumeAll(t, s, 3)
	for _, d := range received[1:] {
		if d.Identity != m.ID.String() {
			t.Errorf("a copy has the identity %s, want %s", d.Identity, m.ID)
		}
	}
}

// consumeAll wants exactly n messages, the first of them sent first.
func consumeAll(t *testing.T, s *sending, n int) []*message.Delivery {
	t.Helper()
	if got := s.stored(int64(n)); got != int64(n) {
		t.Fatalf("%d messages are stored, want %d", got, n)
	}
	all := make([]*message.Delivery, n)
	got := make(chan *message.Delivery, n)
	stop := s.consume(t, uniqueName("group"), func(_ context.Context, d *message.Delivery) error {
		got <- d
		return nil
	})
	defer stop()
	for range n {
		select {
		case d := <-got:
			all[d.Offset] = d
		case <-time.After(time.Minute):
			t.Fatal("no delivery")
		}
	}
	return all
}

// consume runs a consumer until stop is called.
func (s *sending) consume(t *testing.T, group string, receive broker.Receiver) (stop func()) {
	t.Helper()
	_, stop = s.consumer(t, broker.Subscription{Name: "s", Topic: s.topic, Group: group, Concurrency: 8}, receive)
	return stop
}

func (s *sending) consumer(t *testing.T, sub broker.Subscription, receive broker.Receiver) (*Consumer, func()) {
	t.Helper()
	c := newConsumer(t, s.Cluster, sub)
	return c, consume(t, c, receive)
}

func consume(t *testing.T, c *Consumer, receive broker.Receiver) (stop func()) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- c.Consume(ctx, receive) }()
	return func() {
		cancel()
		if err := <-ended; err != nil {
			t.Errorf("consume: %v", err)
		}
	}
}

func TestBrokerKilledAndStartedAgain(t *testing.T) {
	s := newSending(t)
	must(t, s.try(wireTestMessage(s.topic, "before")))
	must(t, s.broker().Kill())
	t.Cleanup(func() { must(t, s.broker().Start()) })
	err := s.try(wireTestMessage(s.topic, "while dead"))
	if se := asSendError(t, err); se.Status != statusConnect && se.Status != statusBroken && se.Status != statusTimeout {
		t.Errorf("got %+v", se)
	}
	if se := asSendError(t, s.try(wireTestMessage(s.topic, "while dead"))); se.Outcome != retryable {
		t.Errorf("second try: %+v", se)
	}
	must(t, s.broker().Start())
	s.until(wireTestMessage(s.topic, "after"))
}

func TestNameServerDown(t *testing.T) {
	s := newSending(t)
	must(t, s.try(wireTestMessage(s.topic, "before")))
	late := uniqueName("topic")
	s.CreateTopic(t, late, 1)
	fresh := newProducer(t, s.Cluster)
	defer fresh.Close()
	must(t, s.NameServers[0].Kill())
	t.Cleanup(func() { must(t, errors.Join(s.NameServers[0].Start(), s.AwaitRegistered())) })
	for range 10 {
		must(t, s.try(wireTestMessage(s.topic, "known topic")))
	}
	for _, p := range []*Producer{s.producer, fresh} {
		began := time.Now()
		_, err := p.Send(t.Context(), []*message.Message{wireTestMessage(late, "new topic")})
		if se := asSendError(t, err); se.Outcome != retryable || se.Status != statusNoRoute || se.Parked || time.Since(began) > p.lane(late).timeout {
			t.Errorf("topic without route, after %v: %+v", time.Since(began), se)
		}
	}
	must(t, s.NameServers[0].Start())
	must(t, s.AwaitRegistered())
	s.until(wireTestMessage(late, "new topic"))
}

func TestUnknownTopicIsParkedUntilItExists(t *testing.T) {
	s := newSending(t)
	s.topic = uniqueName("topic")
	if se := asSendError(t, s.try(wireTestMessage(s.topic, "x"))); se.Outcome != retryable || !se.Parked || se.Status != "TOPIC_NOT_EXIST" {
		t.Errorf("got %+v", se)
	}
	s.CreateTopic(t, s.topic, 1)
	must(t, s.try(wireTestMessage(s.topic, "x")))
}

// Only the route tells: the broker itself takes what is sent to a topic that is
// read-only (AbstractSendMessageProcessor.msgCheck).
func TestReadOnlyTopicIsParked(t *testing.T) {
	s := newSending(t)
	s.setTopicPermission(t, "4")
	if se := asSendError(t, s.try(wireTestMessage(s.topic, "x"))); se.Outcome != retryable || !se.Parked || se.Status != "NO_PERMISSION" {
		t.Errorf("got %+v", se)
	}
	s.setTopicPermission(t, "6")
	s.until(wireTestMessage(s.topic, "after"))
}

func (s *sending) setTopicPermission(t *testing.T, perm string) {
	t.Helper()
	r := newRemoting(nil)
	defer r.close()
	_, err := r.call(t.Context(), s.broker().Addr(), newCommand(17, map[string]string{
		"topic": s.topic, "defaultTopic": "TBW102", "readQueueNums": "1", "writeQueueNums": "1", "perm": perm,
		"topicFilterType": "SINGLE_TAG", "topicSysFlag": "0", "order": "false"}, nil))
	must(t, err)
	for deadline := time.Now().Add(30 * time.Second); ; time.Sleep(20 * time.Millisecond) {
		route, err := newNameServers(s.NameServerAddrs(), r).route(t.Context(), s.topic)
		if err == nil && route.writable() == (perm == "6") {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("the name server does not tell the permission %s: %+v, %v", perm, route, err)
		}
	}
}

func TestTooLargeForTheBrokerIsPermanent(t *testing.T) {
	s := newSending(t)
	m := wireTestMessage(s.topic, string(make([]byte, 5<<20)))
	if se := asSendError(t, s.try(m)); se.Outcome != permanent || se.Status != "MESSAGE_ILLEGAL" {
		t.Errorf("got %v", se)
	}
	must(t, s.try(wireTestMessage(s.topic, "after")))
}

// A broker without its slave stores each attempt, and confirms none: 16 senders
// of 4 topics cost a message each, and the probes.
func TestMissingSlaveCostsFewCopies(t *testing.T) {
	s := newSending(t)
	topics := []string{s.topic}
	for range 3 {
		topics = append(topics, uniqueName("topic"))
		s.CreateTopic(t, topics[len(topics)-1], 1)
	}
	for _, topic := range topics {
		must(t, s.try(wireTestMessage(topic, "before")))
	}
	heal := realBackend{s.Cluster}.StoreWithoutOK(t)
	const senders = 16
	var attempts, sent atomic.Int64
	var running sync.WaitGroup
	for n := range senders {
		m := wireTestMessage(topics[n%len(topics)], "without a slave")
		running.Go(func() {
			for end := time.Now().Add(5 * time.Second); time.Now().Before(end); time.Sleep(5 * time.Millisecond) {
				attempts.Add(1)
				if se := asSendError(t, s.try(m)); se.Status != statusOpen {
					sent.Add(1)
				}
			}
		})
	}
	running.Wait()
	heal()
	var stored int64
	for _, topic := range topics {
		s.until(wireTestMessage(topic, "after"))
		stored += s.queued(topic, 2) - 2
	}
	t.Logf("%d attempts, %d of them sent, %d copies", attempts.Load(), sent.Load(), stored)
	if probes := sent.Load() - senders; stored > sent.Load() || probes > 12 {
		t.Errorf("%d copies of %d messages, with %d probes in 5 s", stored, senders, probes)
	}
}

// With two brokers, one that dies costs at most a few attempts.
func TestOneOfTwoBrokersDies(t *testing.T) {
	c := rmq.Start(t, rmq.Options{Brokers: []rmq.BrokerOptions{{FlushDisk: rmq.AsyncFlush}, {FlushDisk: rmq.AsyncFlush}}})
	s := &sending{Cluster: c, t: t, topic: uniqueName("topic")}
	c.CreateTopic(t, s.topic, 2)
	s.producer = newProducer(t, c)
	defer s.producer.Close()
	for range 8 {
		must(t, s.try(wireTestMessage(s.topic, "before")))
	}
	must(t, c.Brokers[1].Kill())
	failed := 0
	for range 50 {
		if err := s.try(wireTestMessage(s.topic, "after")); err != nil {
			if se := asSendError(t, err); se.Queue[:len("broker-b")] != "broker-b" {
				t.Errorf("failed elsewhere: %v at %s", se, se.Queue)
			}
			failed++
		}
	}
	if failed > 8 { // the first, and probes
		t.Errorf("%d of 50 sends failed with one of two brokers dead", failed)
	}
}

// With two brokers, one that hangs costs what was in flight. What is bound to it
// waits, without a call that hangs each time, and goes when it is back.
func TestOneOfTwoBrokersHangs(t *testing.T) {
	c := rmq.Start(t, rmq.Options{Brokers: []rmq.BrokerOptions{{FlushDisk: rmq.AsyncFlush}, {FlushDisk: rmq.AsyncFlush}}})
	s := &sending{Cluster: c, t: t, topic: uniqueName("topic")}
	c.CreateTopic(t, s.topic, 1)
	p := s.patient(2 * time.Second)
	s.producer = p
	bound := map[string]*message.Message{} // by broker
	for n := 0; len(bound) < 2; n++ {
		m := wireTestMessage(s.topic, "bound")
		m.OrderingKey = fmt.Sprint("key ", n)
		confirmed, err := s.attempt(m)
		must(t, err)
		name, _, _ := strings.Cut(confirmed[0].Queue, "/")
		bound[name] = m
	}
	must(t, c.Brokers[1].Pause())
	hung := 0
	for range 200 {
		for _, m := range []*message.Message{wireTestMessage(s.topic, "free"), bound["broker-b"]} {
			if err := s.try(m); err != nil && asSendError(t, err).Status == statusTimeout {
				hung++
			}
		}
		must(t, s.try(bound["broker-a"]))
	}
	if hung == 0 || hung > 12 {
		t.Errorf("%d of 400 attempts hung", hung)
	}
	if got := p.Failing(); !slices.Equal(got, []string{"broker-b"}) {
		t.Errorf("failing: %v", got)
	}
	must(t, c.Brokers[1].Resume())
	s.until(bound["broker-b"])
	if got := p.Failing(); len(got) > 0 {
		t.Errorf("after its return: %v", got)
	}
}
