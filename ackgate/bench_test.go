package ackgate

import (
	"context"
	"testing"

	"github.com/remora-mq/remora/broker"
	"github.com/remora-mq/remora/message"
	"github.com/remora-mq/remora/push"
)

// again is a consumer that delivers a message so often, one time after the other.
type again struct {
	broker.Consumer
	n int
}

func (a again) Consume(ctx context.Context, receive broker.Receiver) error {
	for range a.n {
		if err := receive(ctx, &message.Delivery{Identity: "x", Queue: "b/0", Attempt: 1}); err != nil {
			return err
		}
	}
	return nil
}

// done is a handler that does nothing.
type done struct{}

func (done) Deliver(context.Context, *push.Call) push.Answer {
	return push.Answer{Disposition: push.Done, Status: 200}
}

// BenchmarkReceive is what the gate does for a message, beside its call.
func BenchmarkReceive(b *testing.B) {
	g := New(Options{Subscription: "billing"}, again{n: b.N}, nil, done{}, nil, nil, nil)
	b.ReportAllocs()
	if err := g.Run(b.Context()); err != nil {
		b.Fatal(err)
	}
}
