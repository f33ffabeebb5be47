//go:build !race

package rocketmq

import (
	"context"
	"strings"
	"testing"
	"time"

	"github.com/remora-mq/remora/broker"
	"github.com/remora-mq/remora/message"
)

// buried makes n dead letters of a new group, and returns what reads them.
func buried(t *testing.T, s *sending, n int) (d *DeadLetters, group string) {
	t.Helper()
	for range n {
		must(t, s.try(wireTestMessage(s.topic, "dead")))
	}
	group = uniqueName("group")
	c := newConsumer(t, cluster(t), broker.Subscription{Name: group, Topic: s.topic, Group: group, Concurrency: n})
	ctx, stop := context.WithCancel(t.Context())
	defer stop()
	done, ended := make(chan struct{}, n), make(chan error, 1)
	go func() {
		ended <- c.Consume(ctx, func(ctx context.Context, d *message.Delivery) error {
			for c.SendBack(ctx, d, broker.SendBack{DeadLetter: true}) != nil && ctx.Err() == nil {
				time.Sleep(100 * time.Millisecond)
			}
			done <- struct{}{}
			return ctx.Err()
		})
	}()
	for range n {
		select {
		case <-done:
		case <-time.After(time.Minute):
			t.Fatal("the broker takes no dead letter")
		}
	}
	stop()
	must(t, <-ended)
	d = newDeadLetters(t, cluster(t), group)
	t.Cleanup(func() { must(t, d.Close()) })
	return d, group
}

// awaitDead waits until the name server knows of the topic.
func awaitDead(t *testing.T, d *DeadLetters, n int64) broker.DeadQueue {
	t.Helper()
	for deadline := time.Now().Add(time.Minute); time.Now().Before(deadline); time.Sleep(100 * time.Millisecond) {
		queues, err := d.Queues(t.Context())
		must(t, err)
		if len(queues) == 1 && queues[0].Next == n {
			return queues[0]
		}
	}
	t.Fatalf("no queue of %d dead letters", n)
	return broker.DeadQueue{}
}

// A topic of dead letters that may only be written is made readable, and may still
// be written.
func TestWriteOnlyDeadLettersAreMadeReadable(t *testing.T) {
	t.Parallel()
	s := newSending(t)
	d, group := buried(t, s, 2)
	q := awaitDead(t, d, 2)
	out, err := cluster(t).MQAdmin("updateTopicPerm", "-b", s.broker().Addr(), "-t", "%DLQ%"+group, "-p", "2")
	if err != nil {
		t.Fatal(out, err)
	}
	route, err := d.names.route(t.Context(), d.topic())
	must(t, err)
	if len(route.readable()) != 0 || len(route.all()) != 1 {
		t.Fatalf("route %+v: mqadmin said %s", route, out)
	}
	some, next, err := d.Read(t.Context(), q.Name, q.First, 10)
	if err != nil || len(some) != 2 || next != 2 {
		t.Fatalf("read %d up to %d: %v", len(some), next, err)
	}
	route, err = d.names.route(t.Context(), d.topic())
	must(t, err)
	if len(route.readable()) != 1 || !route.writable() {
		t.Errorf("route %+v", route)
	}
}

// What Pass notes is the group's own offset, and shown to whoever asks the broker.
func TestPassedIsTheGroupsOffset(t *testing.T) {
	t.Parallel()
	s := newSending(t)
	d, group := buried(t, s, 3)
	q := awaitDead(t, d, 3)
	if q.Passed != 0 || q.First != 0 {
		t.Errorf("queue %+v before", q)
	}
	must(t, d.Pass(t.Context(), q.Name, 2))
	if q = awaitDead(t, d, 3); q.Passed != 2 {
		t.Errorf("queue %+v", q)
	}
	if offset, err := s.broker().ConsumerOffset(group, "%DLQ%"+group, 0); err != nil || offset != 2 {
		t.Errorf("the broker has offset %d (%v)", offset, err)
	}
	out, err := cluster(t).MQAdmin("consumerProgress", "-g", group)
	if err != nil || !strings.Contains(out, "%DLQ%"+group) {
		t.Errorf("mqadmin: %v\n%s", err, out)
	}
}
