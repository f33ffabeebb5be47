//go:build !race

package rocketmq

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/apache/rocketmq-client-go/v2/consumer"
	"github.com/apache/rocketmq-client-go/v2/primitive"

	"github.com/remora-mq/remora/broker"
	"github.com/remora-mq/remora/message"
	rmq "github.com/remora-mq/remora/test/rocketmq"
)

// committed is the group's offset at the broker; 0 if it has none.
func (s *sending) committed(group string) int64 {
	s.t.Helper()
	offset, err := s.broker().ConsumerOffset(group, s.topic, 0)
	if errors.Is(err, rmq.ErrNoOffset) {
		return 0
	}
	must(s.t, err)
	return offset
}

// Offsets are pushed every 5 s. For as long as two of these, and through the
// end of the consumer, the broker's does not pass the lowest held message.
func TestOffsetDoesNotPassHeldMessages(t *testing.T) {
	t.Parallel()
	s := newSending(t)
	for i := range 10 {
		must(t, s.try(wireTestMessage(s.topic, strconv.Itoa(i))))
	}
	group := uniqueName("group")
	var arrived atomic.Int32
	stop := s.consume(t, group, func(ctx context.Context, d *message.Delivery) error {
		arrived.Add(1)
		if d.Offset < 3 || d.Offset == 6 {
			return nil
		}
		<-ctx.Done()
		return ctx.Err()
	})
	s.commits(group, 3)
	for deadline := time.Now().Add(11 * time.Second); time.Now().Before(deadline); time.Sleep(500 * time.Millisecond) {
		if offset := s.committed(group); offset > 3 {
			t.Fatalf("offset %d was committed while message 3 is held", offset)
		}
	}
	if arrived.Load() != 10 {
		t.Errorf("%d deliveries, want 10", arrived.Load())
	}
	stop()
	if offset := s.committed(group); offset != 3 {
		t.Errorf("offset %d after the end, want 3", offset)
	}
}

// What is acked while the consumer stops is in the broker's offset when Consume
// has returned.
func TestProgressIsPushedAtTheEnd(t *testing.T) {
	t.Parallel()
	s := newSending(t)
	for i := range 5 {
		must(t, s.try(wireTestMessage(s.topic, strconv.Itoa(i))))
	}
	group, arrived := uniqueName("group"), make(chan struct{}, 5)
	stop := s.consume(t, group, func(ctx context.Context, d *message.Delivery) error {
		arrived <- struct{}{}
		<-ctx.Done()
		return nil // its handler answered 200 while we stop
	})
	for range 5 {
		<-arrived
	}
	stop()
	s.commits(group, 5) // the call is one-way
}

// commits waits until the broker has the offset of the group.
func (s *sending) commits(group string, want int64) {
	s.t.Helper()
	for deadline := time.Now().Add(time.Minute); s.committed(group) != want; time.Sleep(20 * time.Millisecond) {
		if time.Now().After(deadline) {
			s.t.Fatalf("offset %d, want %d", s.committed(group), want)
		}
	}
}

// A hazard of the library, and why ConsumeRetryLater is never returned: when
// the broker refuses what it sends back, it acks. If this fails, that is fixed.
// The library has no call that waits for its acks; it pushes them every 5 s.
func TestLibraryAcksRefusedRetry(t *testing.T) {
	s := newSending(t)
	for range 3 {
		must(t, s.try(wireTestMessage(s.topic, "lost")))
	}
	group := uniqueName("group")
	realBackend{s.Cluster}.configure(t, "brokerPermission", "4", "6")
	c, err := consumer.NewPushConsumer(consumer.WithNameServer(libraryAddrs(s.NameServerAddrs())),
		consumer.WithGroupName(group), consumer.WithInstance(uniqueName("hazard")),
		consumer.WithConsumeFromWhere(consumer.ConsumeFromFirstOffset))
	must(t, err)
	must(t, c.Subscribe(s.topic, consumer.MessageSelector{}, func(context.Context, ...*primitive.MessageExt) (consumer.ConsumeResult, error) {
		return consumer.ConsumeRetryLater, nil
	}))
	must(t, c.Start())
	t.Cleanup(func() { must(t, c.Shutdown()) })
	s.commits(group, 3)
}

// await returns what the test says, or that the consumer stops.
func await(ctx context.Context, result <-chan error) error {
	select {
	case err := <-result:
		return err
	case <-ctx.Done():
		return ctx.Err()
	}
}

// sendBack tries again where the broker was busy for the moment, as it is on a
// busy machine: a message that was refused is refused by ourselves for a minute.
func sendBack(t *testing.T, c *Consumer, d *message.Delivery, back broker.SendBack) (err error) {
	t.Helper()
	for deadline := time.Now().Add(2 * time.Minute); time.Now().Before(deadline); time.Sleep(100 * time.Millisecond) {
		if err = c.SendBack(t.Context(), d, back); err == nil {
			break
		}
	}
	return err
}

// raw sends past the library, as other producers would.
func (s *sending) raw(t *testing.T, sysFlag int, properties, body string) {
	t.Helper()
	r := newRemoting(nil)
	defer r.close()
	_, err := r.call(t.Context(), s.broker().Addr(), newCommand(10, map[string]string{
		"producerGroup": "other", "topic": s.topic, "queueId": "0", "sysFlag": strconv.Itoa(sysFlag),
		"bornTimestamp": strconv.FormatInt(time.Now().UnixMilli(), 10), "flag": "0", "properties": properties,
		"defaultTopic": "TBW102", "defaultTopicQueueNums": "4",
	}, []byte(body)))
	must(t, err)
}

// A body that cannot be decoded is never delivered and never acked, and what
// comes after it is delivered.
func TestUndecodableBodyIsHeld(t *testing.T) {
	t.Parallel()
	s := newSending(t)
	s.raw(t, 0x101, "", "LZ4, says its flag")
	must(t, s.try(wireTestMessage(s.topic, "good")))
	group, got := uniqueName("group"), make(chan string, 10)
	stop := s.consume(t, group, func(_ context.Context, d *message.Delivery) error {
		got <- string(d.Body)
		return nil
	})
	if body := <-got; body != "good" {
		t.Errorf("delivered %q", body)
	}
	stop()
	if offset := s.committed(group); offset != 0 || len(got) != 0 {
		t.Errorf("offset %d, %d more deliveries", offset, len(got))
	}
}

// A foreign message is known by its first offset message ID, also when retried.
func TestForeignMessageKeepsItsIdentity(t *testing.T) {
	t.Parallel()
	s := newSending(t)
	s.raw(t, 0, "UNIQ_KEY\x01ABCDEF00000000000000000000000000\x02own\x011\x02", "foreign")
	deliveries := make(chan *message.Delivery, 2)
	result := make(chan error, 2)
	c, stop := s.consumer(t, broker.Subscription{Name: "s", Topic: s.topic, Group: uniqueName("group"), Concurrency: 2},
		func(ctx context.Context, d *message.Delivery) error { deliveries <- d; return await(ctx, result) })
	defer stop()
	first := <-deliveries
	must(t, sendBack(t, c, first, broker.SendBack{}))
	result <- nil
	second := <-deliveries
	result <- nil
	if !first.ID.IsZero() || first.Identity != first.BrokerMessageID || second.Identity != first.Identity ||
		second.BrokerMessageID == first.BrokerMessageID || second.Topic != s.topic || second.Property("own") != "1" {
		t.Errorf("first %+v\nsecond %+v", first, second)
	}
}

func TestSQLFilter(t *testing.T) {
	t.Parallel()
	s := newSending(t)
	for i := range 6 {
		m := wireTestMessage(s.topic, strconv.Itoa(i))
		m.Properties = []message.Property{{Name: "n", Value: strconv.Itoa(i)}}
		must(t, s.try(m))
	}
	got := make(chan string, 10)
	sub := broker.Subscription{Name: "s", Topic: s.topic, Group: uniqueName("group"), Concurrency: 1, SQL: "n BETWEEN 2 AND 3"}
	_, stop := s.consumer(t, sub, func(_ context.Context, d *message.Delivery) error { got <- string(d.Body); return nil })
	if a, b := <-got, <-got; min(a, b) != "2" || max(a, b) != "3" { // of two queues, maybe
		t.Errorf("delivered %s, %s", a, b)
	}
	stop()
	sub.SQL = "n BETWEEN"
	err := newConsumer(t, s.Cluster, sub).Consume(t.Context(), nil)
	if !errors.Is(err, errNeverWorks) || !strings.Contains(fmt.Sprint(err), "n BETWEEN") {
		t.Errorf("a filter that is no SQL: %v", err)
	}
}

// A broker without SQL filters is waited for, and the reason is said; the check says
// so, too.
func TestSQLFilterNeedsPropertyFilters(t *testing.T) {
	s := newSending(t)
	must(t, s.try(wireTestMessage(s.topic, "x")))
	heal := realBackend{s.Cluster}.configure(t, "enablePropertyFilter", "false", "true")
	sub := broker.Subscription{Name: "s", Topic: s.topic, Group: uniqueName("group"), Concurrency: 1, SQL: "own IS NULL"}
	c := newConsumer(t, s.Cluster, sub)
	if err := c.prepare(t.Context()); !errors.Is(err, ErrNoFilter) || errors.Is(err, errNeverWorks) || !strings.Contains(err.Error(), "enablePropertyFilter=true") {
		t.Errorf("a broker without filters: %v", err)
	}
	i, err := NewInspector(ConsumerOptions{NameServers: s.NameServerAddrs()})
	must(t, err)
	defer i.Close()
	if err := i.Filter(t.Context(), sub.Group, s.topic, sub.SQL); !errors.Is(err, ErrNoFilter) {
		t.Errorf("asked for it: %v", err)
	}
	got := make(chan string, 1)
	_, stop := s.consumer(t, sub, func(_ context.Context, d *message.Delivery) error { got <- string(d.Body); return nil })
	defer stop()
	heal()
	select {
	case <-got:
	case <-time.After(time.Minute):
		t.Error("no delivery in a minute after it was mended")
	}
	must(t, i.Filter(t.Context(), sub.Group, s.topic, sub.SQL))
	if err := i.Filter(t.Context(), sub.Group, s.topic, "own ="); !errors.Is(err, ErrFilter) {
		t.Errorf("no SQL: %v", err)
	}
}

// The topic is made after the consumer was started, the group is new: still the
// first message comes soon, and the first that is sent back, which the library
// alone would begin to look for after half a minute.
func TestNewTopicAndGroupWorkSoon(t *testing.T) {
	t.Parallel()
	s := newSending(t)
	s.topic = uniqueName("topic")
	got, result := make(chan *message.Delivery, 2), make(chan error, 2)
	c := newConsumer(t, s.Cluster, broker.Subscription{Name: "s", Topic: s.topic, Group: uniqueName("group"), Concurrency: 1})
	warned := make(chan struct{}, 100)
	c.log = slog.New(slog.NewTextHandler(warnings(warned), &slog.HandlerOptions{Level: slog.LevelWarn}))
	defer consume(t, c, func(ctx context.Context, d *message.Delivery) error { got <- d; return await(ctx, result) })()
	<-warned // it has looked for the topic in vain
	s.CreateTopic(t, s.topic, 1)
	must(t, s.try(wireTestMessage(s.topic, "x")))
	for attempt, limit := 1, time.After(25*time.Second); attempt <= 2; attempt++ {
		select {
		case d := <-got:
			must(t, sendBack(t, c, d, broker.SendBack{}))
			result <- nil
		case <-limit:
			t.Fatalf("attempt %d did not come in 25 s", attempt)
		}
	}
}

// The broker would confirm and drop what this group sends back.
func TestRealGroupWithoutRetryQueues(t *testing.T) {
	t.Parallel()
	s := newSending(t)
	must(t, s.try(wireTestMessage(s.topic, "x")))
	group := uniqueName("group")
	body, err := json.Marshal(map[string]any{"groupName": group, "consumeEnable": true, "retryQueueNums": 0, "retryMaxTimes": 16})
	must(t, err)
	r := newRemoting(nil)
	defer r.close()
	_, err = r.call(t.Context(), s.broker().Addr(), newCommand(200, nil, body)) // UPDATE_AND_CREATE_SUBSCRIPTIONGROUP
	must(t, err)
	got := make(chan *message.Delivery, 1)
	c, stop := s.consumer(t, broker.Subscription{Name: "s", Topic: s.topic, Group: group, Concurrency: 1},
		func(ctx context.Context, d *message.Delivery) error { got <- d; <-ctx.Done(); return ctx.Err() })
	defer stop()
	if err := c.SendBack(t.Context(), <-got, broker.SendBack{}); !errors.Is(err, errNoRetryQueues) {
		t.Errorf("got %v", err)
	}
}

// The dead-letter queue gets it, and the group no more.
func TestDeadLetterIsInTheGroupsQueue(t *testing.T) {
	t.Parallel()
	s := newSending(t)
	must(t, s.try(wireTestMessage(s.topic, "x")))
	group, got := uniqueName("group"), make(chan *message.Delivery, 1)
	result := make(chan error)
	c, stop := s.consumer(t, broker.Subscription{Name: "s", Topic: s.topic, Group: group, Concurrency: 1},
		func(ctx context.Context, d *message.Delivery) error { got <- d; return await(ctx, result) })
	defer stop()
	must(t, sendBack(t, c, <-got, broker.SendBack{DeadLetter: true}))
	result <- nil
	if n := s.queued("%DLQ%"+group, 1); n != 1 {
		t.Errorf("%d dead letters", n)
	}
}

// A send-back is confirmed where a send would answer FLUSH_SLAVE_TIMEOUT: the
// broker marks the copy not to be waited for.
func TestSendBackDoesNotWaitForTheSlave(t *testing.T) {
	s := newSending(t)
	must(t, s.try(wireTestMessage(s.topic, "x")))
	got, result := make(chan *message.Delivery, 2), make(chan error, 2)
	c, stop := s.consumer(t, broker.Subscription{Name: "s", Topic: s.topic, Group: uniqueName("group"), Concurrency: 1},
		func(ctx context.Context, d *message.Delivery) error { got <- d; return await(ctx, result) })
	defer stop()
	d := <-got
	heal := realBackend{s.Cluster}.StoreWithoutOK(t)
	err := s.try(wireTestMessage(s.topic, "y"))
	back := sendBack(t, c, d, broker.SendBack{})
	heal()
	if back != nil || asSendError(t, err).Status != "FLUSH_SLAVE_TIMEOUT" {
		t.Errorf("send back: %v; send: %v", back, err)
	}
}

// Consumers outlive an outage of everything, and hold what they held.
func TestConsumerSurvivesBrokerRestart(t *testing.T) {
	s := newSending(t)
	must(t, s.try(wireTestMessage(s.topic, "before")))
	got := make(chan string, 10)
	stop := s.consume(t, uniqueName("group"), func(_ context.Context, d *message.Delivery) error {
		got <- string(d.Body)
		return nil
	})
	defer stop()
	<-got
	must(t, s.broker().Kill())
	must(t, s.broker().Start())
	s.until(wireTestMessage(s.topic, "after"))
	for deadline := time.After(time.Minute); ; {
		select {
		case body := <-got:
			if body == "after" {
				return
			}
		case <-deadline:
			t.Fatal("no delivery in a minute")
		}
	}
}

// warnings tells of each line of a log.
type warnings chan struct{}

func (w warnings) Write(line []byte) (int, error) {
	select {
	case w <- struct{}{}:
	default: // nobody counts them
	}
	return len(line), nil
}
