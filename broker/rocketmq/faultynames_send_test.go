//go:build !race

package rocketmq

import (
	"context"
	"testing"
	"time"

	"github.com/remora-mq/remora/broker"
	"github.com/remora-mq/remora/message"
)

// One name server of two that is of no use holds up nothing that is sent: neither the
// first look for a topic's queues nor the first message of it, nor the library's own
// search.
func TestNothingSentWaitsForOneNameServer(t *testing.T) {
	well := serveHalves(t)
	besideEach(t, well.addr, func(t *testing.T, how string, names []string) {
		p, err := NewProducer(ProducerOptions{NameServers: names, Group: "g"}, testLog(t))
		must(t, err)
		defer func() { must(t, p.Close()) }()
		p.relay.names.patience = patienceBeside(how)
		for _, l := range p.lanes {
			l.names.patience = patienceBeside(how)
		}
		if q := p.Queues(t.Context(), "orders"); len(q) != 1 || q[0] != "b/0" {
			t.Errorf("before anything was sent the topic has the queues %v", q)
		}
		for _, topic := range []string{"orders", "invoices", "parcels"} {
			if _, err := p.Send(t.Context(), []*message.Message{wireTestMessage(topic, "x")}); err != nil {
				t.Errorf("the first message of a topic: %v", err)
			}
		}
	})
}

// With one name server of two that hangs, of a real RocketMQ, messages go out and a new
// group gets them.
func TestOneNameServerHangs(t *testing.T) {
	s := newSending(t)
	well := s.NameServerAddrs()[0]
	for how, names := range map[string][]string{"first": {hungServer(t), well}, "last": {well, hungServer(t)}} {
		t.Run(how, func(t *testing.T) {
			p, err := NewProducer(ProducerOptions{NameServers: names, Group: "remora"}, testLog(t))
			must(t, err)
			s.producer.Close()
			s.producer = p
			must(t, s.try(wireTestMessage(s.topic, how)))
			sub := broker.Subscription{Name: "s", Topic: s.topic, Group: uniqueName("group"), Concurrency: 1, Joins: func(err error) {
				if err != nil {
					t.Errorf("the group is not joined at once: %v", err)
				}
			}}
			c, err := NewConsumer(ConsumerOptions{NameServers: names, Instance: uniqueName("instance")}, sub, testLog(t))
			must(t, err)
			ctx, stop := context.WithTimeout(t.Context(), 20*time.Second)
			defer stop()
			got := ""
			must(t, c.Consume(ctx, func(_ context.Context, d *message.Delivery) error {
				if got = string(d.Body); got == how {
					stop()
				}
				return nil
			}))
			if got != how {
				t.Errorf("a new group got %q", got)
			}
		})
	}
}

// besideEach runs a test with a name server that is of no use before one that is well,
// and behind it.
func besideEach(t *testing.T, well string, run func(t *testing.T, how string, names []string)) {
	for how, server := range faultyNames {
		t.Run(how+" first", func(t *testing.T) { run(t, how, []string{server(t), well}) })
		t.Run(how+" last", func(t *testing.T) { run(t, how, []string{well, server(t)}) })
	}
}
