//go:build !race

package rocketmq

import (
	"context"
	"fmt"
	"testing"
	"time"

	"github.com/remora-mq/remora/broker"
	"github.com/remora-mq/remora/message"
)

// A group whose place the broker does not have is moved by it, and that is told: what
// comes after is consumed.
func TestJumpIsTold(t *testing.T) {
	t.Parallel()
	s := newSending(t)
	must(t, s.try(wireTestMessage(s.topic, "before")))
	told, arrived := make(chan broker.Jump, 8), make(chan string, 8)
	sub := broker.Subscription{
		Name: "s", Topic: s.topic, Group: uniqueName("group"), Concurrency: 8,
		Jumps: func(j broker.Jump) { told <- j },
	}
	receive := func(_ context.Context, d *message.Delivery) error {
		arrived <- string(d.Body)
		return nil
	}
	_, stop := s.consumer(t, sub, receive) // makes the group known
	<-arrived
	stop()
	must(t, s.broker().SetConsumerOffset(sub.Group, s.topic, 0, 1000))
	_, stop = s.consumer(t, sub, receive)
	defer stop()
	want := broker.Jump{Topic: s.topic, Queue: fmt.Sprintf("%s/0", s.broker().Name()), From: 1000}
	select {
	case got := <-told:
		if got != want {
			t.Errorf("%+v, want %+v", got, want)
		}
	case <-time.After(3 * time.Minute):
		t.Fatal("nothing was told")
	}
	must(t, s.try(wireTestMessage(s.topic, "after")))
	select {
	case body := <-arrived:
		if body != "after" {
			t.Errorf("%q arrived", body)
		}
	case <-time.After(2 * time.Minute):
		t.Fatal("nothing arrived")
	}
}
