//go:build !race

package rocketmq

import (
	"context"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/remora-mq/remora/broker"
	"github.com/remora-mq/remora/message"
)

// Of large messages that nobody is done with, each queue has its share fetched and
// no more, whatever the concurrency; nothing of the rest is lost by that.
func TestPrefetchIsBoundedByBytes(t *testing.T) {
	t.Parallel()
	const queues, each, share = 4, 5, 2 // by 1.5 MiB, the second one reaches 2 MiB
	c := cluster(t)
	topic := uniqueName("topic")
	c.CreateTopic(t, topic, queues)
	p := newProducer(t, c)
	t.Cleanup(func() { must(t, p.Close()) })
	names := p.Queues(t.Context(), topic)
	if len(names) != queues {
		t.Fatalf("queues %v", names)
	}
	body := []byte(strings.Repeat("x", 3<<19))
	for n := range queues * each {
		m := wireTestMessage(topic, "large")
		m.OrderingKey, m.Body = strconv.Itoa(n), body
		_, err := p.SendTo(t.Context(), names[n%queues], []*message.Message{m})
		must(t, err)
	}
	var arrived, done atomic.Int32
	release := make(chan struct{})
	consumer := newConsumer(t, c, broker.Subscription{Name: "large", Topic: topic, Group: uniqueName("group"), Concurrency: 100, Prefetch: 4 << 20})
	ctx, stop := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() {
		ended <- consumer.Consume(ctx, func(ctx context.Context, _ *message.Delivery) error {
			arrived.Add(1)
			select {
			case <-release:
				done.Add(1)
				return nil
			case <-ctx.Done():
				return ctx.Err()
			}
		})
	}()
	reach(t, &arrived, queues*share)
	time.Sleep(3 * time.Second) // the library looks 20 times a second whether it may fetch
	if n := arrived.Load(); n != queues*share {
		t.Errorf("%d messages are here, want %d", n, queues*share)
	}
	close(release)
	reach(t, &done, queues*each)
	stop()
	must(t, <-ended)
}

func reach(t *testing.T, n *atomic.Int32, want int32) {
	t.Helper()
	for deadline := time.Now().Add(time.Minute); n.Load() < want; time.Sleep(20 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("%d, want %d", n.Load(), want)
		}
	}
}
