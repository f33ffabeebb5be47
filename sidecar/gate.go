package sidecar

import (
	"context"

	"github.com/remora-mq/remora/ackgate"
	"github.com/remora-mq/remora/broker"
	"github.com/remora-mq/remora/config"
	"github.com/remora-mq/remora/internal/backoff"
	"github.com/remora-mq/remora/push"
)

// renew gives a subscription another consumer, and another gate, which joins it with
// dedupe store and handler.
func (s *Sidecar) renew(ctx context.Context, one *subscription) error {
	sub, err := s.brokerSubscription(one.config)
	if err != nil {
		return err
	}
	sub.Starts = func(start broker.Start) { s.noteStart(one, start) }
	sub.Joins = one.noteJoin
	sub.Jumps = func(jump broker.Jump) { s.noteJump(one, jump) }
	consumer, err := s.parts.backend.Consumer(sub)
	if err != nil {
		return err
	}
	opts, err := s.gateOptions(one.config)
	if err != nil {
		return err
	}
	opts.Brake = one.brake
	if opts.Notes, err = s.notes(ctx, one.config); err != nil {
		return err
	}
	handler, err := s.handler(one.config)
	if err != nil {
		return err
	}
	one.consumer.Store(&consumer)
	one.gate.Store(ackgate.New(opts, consumer, s.store(one.config.Dedupe), handler, s.leases, one.metrics, s.log))
	return nil
}

// deliveries is how many messages are taken from the broker at a time: as many as
// there may be calls; and as many again for each of the marks that are written before
// and after one, so that there is always one to be called for.
func deliveries(c config.Subscription) int {
	if c.Dedupe.Store == config.DedupeOff {
		return c.Concurrency
	}
	return 3 * c.Concurrency
}

// handler is nil where messages are pulled.
func (s *Sidecar) handler(c config.Subscription) (ackgate.Handler, error) {
	if c.Handler == "" {
		return nil, nil //nolint:nilnil // there is none
	}
	return push.New(push.Options{
		URL: c.Handler, AckStatuses: c.AckStatuses, Remote: c.Remote, MaxIdle: c.Concurrency, UserAgent: s.userAgent(),
		Signer: s.secrets.signers[c.Name], Logger: s.log.With("subscription", c.Name),
	})
}

// gateOptions gives running calls their share of the drain, at most their own
// time.
func (s *Sidecar) gateOptions(c config.Subscription) (ackgate.Options, error) {
	key, err := ackgate.ParseKeyRule(c.Dedupe.Key)
	grace := min(c.Timeout.Std(), s.handlerShare())
	if grace == 0 {
		grace = -1 // not at all
	}
	return ackgate.Options{
		Subscription: c.Name, Scope: s.scope(c), Key: key, Store: c.Dedupe.Store, Pass: c.Dedupe.OnError == config.DedupePass,
		Concurrency: c.Concurrency, Timeout: c.Timeout.Std(), MaxAttempts: c.Retry.MaxAttempts,
		Ordered: c.Ordered, Block: c.Retry.OnExhausted == config.ExhaustedBlock,
		Retry:   backoff.Policy{Initial: c.Retry.Initial.Std(), Max: c.Retry.Max.Std()},
		MaxHold: c.MaxHold.Std(), MaxHeld: c.MaxHeld, Grace: grace, Died: s.died(c),
	}, err
}

// brokerSubscription gives each subscription the same part of what may be fetched ahead.
func (s *Sidecar) brokerSubscription(c config.Subscription) (broker.Subscription, error) {
	latest, at, err := c.Start()
	return broker.Subscription{
		Name: c.Name, Topic: c.Topic, Group: c.Group, Tags: c.Filter.Tags, SQL: c.Filter.SQL,
		Ordered: c.Ordered, Concurrency: deliveries(c), From: broker.From{Latest: latest, Time: at},
		Prefetch: int64(s.cfg.Memory.Deliver) / int64(len(s.cfg.Subscriptions)),
	}, err
}
