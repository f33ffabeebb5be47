package rocketmq

import (
	"context"
	"errors"
	"fmt"
	"log/slog"

	"github.com/remora-mq/remora/broker"
	"github.com/remora-mq/remora/message"
)

// Producer sends to RocketMQ. It implements [broker.Producer].
type Producer struct {
	lanes    []*lane
	breakers *breakers
	remoting *remoting
	relay    *relay
	sends    gate
}

var _ interface {
	broker.Producer
	broker.Prober
	broker.Binder
	broker.Locator
} = (*Producer)(nil)

// NewProducer makes a producer without contacting anybody: name servers and
// brokers may be down, now and later. The caller owes a Close. Of the process's
// first client, logger gets the library's log lines too.
func NewProducer(o ProducerOptions, logger *slog.Logger) (*Producer, error) {
	install(logger)
	o, err := o.withDefaults()
	if err != nil {
		return nil, fmt.Errorf("configure rocketmq producer: %w", err)
	}
	p := &Producer{remoting: newRemoting(o.Keys), breakers: newBreakers(logger)}
	names := newNameServers(o.NameServers, p.remoting)
	p.relay = newRelay(names, logger)
	o.NameServers = p.relay.addrs()
	for range o.Lanes {
		l, err := newLane(o, names, p.breakers, logger)
		if err != nil {
			return nil, errors.Join(fmt.Errorf("start rocketmq producer: %w", err), p.Close())
		}
		p.lanes = append(p.lanes, l)
	}
	return p, nil
}

// Send implements [broker.Producer].
func (p *Producer) Send(ctx context.Context, msgs []*message.Message) ([]message.Confirmation, error) {
	return p.send(ctx, "", msgs)
}

func (p *Producer) send(ctx context.Context, queue string, msgs []*message.Message) ([]message.Confirmation, error) {
	if !p.sends.enter() {
		return nil, &broker.SendError{Outcome: message.OutcomeRetryable, Status: statusClosed, Err: broker.ErrClosed}
	}
	defer p.sends.leave()
	if len(msgs) == 0 {
		return nil, nil
	}
	confirmed, e := p.lane(msgs[0].Topic).send(ctx, queue, msgs)
	if e != nil {
		return nil, e
	}
	return confirmed, nil
}

// lane is where a topic's attempts are made.
func (p *Producer) lane(topic string) *lane {
	return p.lanes[stableHash(topic)%uint64(len(p.lanes))]
}

// Probe implements [broker.Prober].
func (p *Producer) Probe(topic string) bool { return p.lane(topic).selector.probe(topic) }

// Failing implements [broker.Prober].
func (p *Producer) Failing() []string { return p.breakers.failing() }

// Close waits for running calls of Send, then closes all connections. Again it does
// nothing.
func (p *Producer) Close() error {
	if !p.sends.close() {
		return nil
	}
	var failed []error
	for _, l := range p.lanes {
		failed = append(failed, l.close())
	}
	p.relay.close() // the library leaves its connections to name servers open
	p.remoting.close()
	return errors.Join(failed...)
}
