package sidecar

import (
	"context"

	"github.com/remora-mq/remora/ackgate"
	"github.com/remora-mq/remora/broker"
	"github.com/remora-mq/remora/config"
	"github.com/remora-mq/remora/internal/backoff"
	"github.com/remora-mq/remora/push"
)

// gate joins consumer, dedupe store and handler of a subscription.
func (s *Sidecar) gate(ctx context.Context, c config.Subscription, brake *ackgate.Brake, metrics *ackgate.Metrics) (*ackgate.Gate, error) {
	sub, err := brokerSubscription(c)
	if err != nil {
		return nil, err
	}
	sub.Prefetch = int64(s.cfg.Memory.Deliver) / int64(len(s.cfg.Subscriptions))
	opts, err := s.gateOptions(c)
	if err != nil {
		return nil, err
	}
	opts.Brake = brake
	if opts.Notes, err = s.notes(ctx, c); err != nil {
		return nil, err
	}
	consumer, err := s.parts.backend.Consumer(sub)
	if err != nil {
		return nil, err
	}
	handler, err := s.handler(c)
	if err != nil {
		return nil, err
	}
	return ackgate.New(opts, consumer, s.store(c.Dedupe), handler, s.leases, metrics, s.log), nil
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

func brokerSubscription(c config.Subscription) (broker.Subscription, error) {
	latest, at, err := c.Start()
	return broker.Subscription{
		Name: c.Name, Topic: c.Topic, Group: c.Group, Tags: c.Filter.Tags, SQL: c.Filter.SQL,
		Ordered: c.Ordered, Concurrency: c.Concurrency, From: broker.From{Latest: latest, Time: at},
	}, err
}
