package rocketmq

import (
	"context"

	"github.com/apache/rocketmq-client-go/v2/primitive"
)

// maxLocating topics of one client are looked for at a time. The library has one
// lock for that, so more would only be connections to the name server.
const maxLocating = 8

// Locate implements [broker.Locator]. The library looks for the brokers of one topic
// at a time (internal/route.go:123), and attempts that wait for it have all slots when
// many topics are new: none is left for those that are known.
func (p *Producer) Locate(ctx context.Context, topic string) {
	if !p.sends.enter() {
		return
	}
	defer p.sends.leave()
	p.lane(topic).locate(ctx, topic)
}

func (l *lane) locate(ctx context.Context, topic string) {
	ctx, cancel := context.WithTimeout(ctx, min(l.timeout, lookTime))
	defer cancel()
	select {
	case l.locating <- struct{}{}:
		defer func() { <-l.locating }()
	case <-ctx.Done():
		return
	}
	one := l.clients.enter()
	defer l.clients.leave(one)
	if l.ready(ctx, one, topic, "") != nil {
		return
	}
	a := l.selector.begin("", "", 1)
	l.selector.chosen(a) // it is over: no queue is chosen, so the library finds the route and sends nothing
	m := primitive.NewMessage(topic, []byte("not sent"))
	m.Queue = &a.ticket
	_, _ = l.watch(ctx, one, a, "", []*primitive.Message{m}) // an error is all that it gives
}
