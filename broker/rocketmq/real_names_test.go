//go:build !race

package rocketmq

import (
	"context"
	"net"
	"testing"
	"time"

	"github.com/remora-mq/remora/broker"
	"github.com/remora-mq/remora/message"
)

// Name servers may be DNS names, for what is sent and for what is consumed: the library
// takes a name in a URL only.
func TestNameServersAreFoundByName(t *testing.T) {
	s := newSending(t)
	var names []string
	for _, addr := range s.NameServerAddrs() {
		_, port, err := net.SplitHostPort(addr)
		must(t, err)
		names = append(names, net.JoinHostPort("localhost", port))
	}
	p, err := NewProducer(ProducerOptions{NameServers: names, Group: "remora"}, testLog(t))
	must(t, err)
	s.producer.Close()
	s.producer = p
	must(t, s.try(wireTestMessage(s.topic, "x")))

	var joins []error
	sub := broker.Subscription{Name: "s", Topic: s.topic, Group: uniqueName("group"), Concurrency: 1, Joins: func(err error) { joins = append(joins, err) }}
	c, err := NewConsumer(ConsumerOptions{NameServers: names, Instance: uniqueName("instance")}, sub, testLog(t))
	must(t, err)
	ctx, stop := context.WithTimeout(t.Context(), time.Minute)
	defer stop()
	var got []string
	must(t, c.Consume(ctx, func(_ context.Context, d *message.Delivery) error {
		got = append(got, string(d.Body))
		stop()
		return nil
	}))
	if len(got) != 1 || got[0] != "x" {
		t.Errorf("consumed %q", got)
	}
	if len(joins) == 0 || joins[len(joins)-1] != nil {
		t.Errorf("of the group that was joined is told %v", joins)
	}
}
