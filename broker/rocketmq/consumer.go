package rocketmq

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync/atomic"
	"time"

	"github.com/remora-mq/remora/broker"
	"github.com/remora-mq/remora/internal/backoff"
	"github.com/remora-mq/remora/message"
)

// Consumer consumes one subscription. It implements [broker.Consumer].
//
// At a time a queue has at most 40 messages in memory or at the receiver,
// whatever the subscription's Concurrency: more would make the library drop the
// queue when deliveries take longer than 120 s. Of an ordered subscription it is
// about 1,000, nearly all of which wait for their turn.
type Consumer struct {
	options  ConsumerOptions
	sub      broker.Subscription
	log      *slog.Logger
	remoting *remoting
	names    nameServers
	back     *sendBacks
	used     atomic.Bool
	queues   int           // of the topic, when it was prepared: a lone member of the group gets all
	start    *broker.Start // of Consume: what prepare found; nil: the brokers did not tell

	// Before another try to start: while name server or topic are missing, and
	// after a client failed to start, which leaks goroutines
	// (consumer/statistics.go:213-241).
	awaitRoute, afterFailure backoff.Policy
}

var _ broker.Consumer = (*Consumer)(nil)

// NewConsumer makes a consumer without contacting anybody. The logger is as in
// [NewProducer].
func NewConsumer(o ConsumerOptions, sub broker.Subscription, logger *slog.Logger) (*Consumer, error) {
	install(logger)
	o, err := o.withDefaults()
	if err = errors.Join(err, validSubscription(sub)); err != nil {
		return nil, fmt.Errorf("configure subscription %s: %w", sub.Name, err)
	}
	r := newRemoting(o.Keys)
	names := newNameServers(o.NameServers, r)
	return &Consumer{
		options:      o,
		sub:          sub,
		log:          logger.With("subscription", sub.Name),
		remoting:     r,
		names:        names,
		back:         newSendBacks(sub.Group, r, names),
		awaitRoute:   backoff.Policy{Initial: time.Second, Max: 10 * time.Second},
		afterFailure: backoff.Policy{Initial: 5 * time.Second, Max: 30 * time.Second},
	}, nil
}

// Consume implements [broker.Consumer].
func (c *Consumer) Consume(ctx context.Context, receive broker.Receiver) error {
	if c.used.Swap(true) {
		return fmt.Errorf("consume %s: called twice", c.sub.Name)
	}
	defer c.remoting.close()
	r := newReceivers(ctx, c.sub.Concurrency, receive)
	defer r.close()
	if c.sub.Jumps != nil {
		defer jumps.listen(c.sub.Group, c.sub.Topic, c.sub.Jumps)()
	}
	starts := c.sub.Starts
	for {
		again, err := c.consumeWith(r.ctx, r, starts) //nolint:contextcheck // it is made of ctx
		if !again || ctx.Err() != nil {
			return err
		}
		c.log.Info("the keys have changed: joining the group with the new ones", "left", err)
		starts = nil
	}
}

// consumeWith consumes until ctx is done, or the keys are others than it began with:
// then it returns true, and what is being delivered goes on. Of an ordered subscription it
// has restTime to end, and is then cut short, as at the end.
func (c *Consumer) consumeWith(ctx context.Context, r *receivers, starts func(broker.Start)) (again bool, err error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	m, err := c.join(ctx, r)
	switch {
	case errors.Is(err, errNeverWorks):
		return false, fmt.Errorf("consume %s: %w", c.sub.Name, err)
	case err != nil:
		return false, nil // ctx was done first
	}
	if starts != nil && c.start != nil {
		starts(*c.start)
	}
	c.log.Info("consuming", "topic", c.sub.Topic, "group", c.sub.Group)
	if again = c.awaitOther(ctx, m.keys); again {
		m.rest(ctx)
	}
	cancel()
	return again, m.leave(again)
}

// keysEvery is how often a consumer looks whether the keys have changed: the library
// asks nobody before it pulls.
const keysEvery = 2 * time.Second

// awaitOther returns true when the keys are no more those that are given, false when
// ctx is done.
func (c *Consumer) awaitOther(ctx context.Context, keys Keys) bool {
	look := time.NewTicker(keysEvery)
	defer look.Stop()
	for c.remoting.keys() == keys {
		select {
		case <-look.C:
		case <-ctx.Done():
			return false
		}
	}
	return true
}

// join tries until the group is joined or ctx is done, and gives up only on what
// can never work.
func (c *Consumer) join(ctx context.Context, r *receivers) (*member, error) {
	for failures := 1; ; failures++ {
		err := c.prepare(ctx)
		switch {
		case errors.Is(err, errNeverWorks):
			return nil, err
		case ctx.Err() != nil:
			return nil, ctx.Err()
		}
		policy := c.awaitRoute
		if err == nil {
			var m *member
			if m, err = c.newMember(ctx, r); err == nil {
				c.tellJoin(nil)
				if failures > 1 {
					c.log.Info("consuming after all", "failures", failures-1)
				}
				return m, nil
			}
			policy = c.afterFailure
		}
		c.tellJoin(err)
		wait := policy.Delay(failures, backoff.Random{})
		if isSaid(failures) {
			c.log.Warn("cannot consume yet", "error", err, "failures", failures, "next_try", wait)
		}
		select {
		case <-time.After(wait):
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
}

func (c *Consumer) tellJoin(err error) {
	if c.sub.Joins != nil {
		c.sub.Joins(err)
	}
}

// isSaid reports whether a failure is told: the first, and each that doubles their
// number. An outage of a night is a dozen lines, where each try was one.
func isSaid(failures int) bool { return failures&(failures-1) == 0 }

// SendBack implements [broker.Consumer]. Delays are rounded up to RocketMQ's 18
// levels, 1 s to 2 h. After a failure that may have left a copy, further calls
// for the same broker fail at once for a minute; after any failure, those for
// the same message, or for a second where the broker was busy.
//
// The broker does not wait for its flush or its slave before it confirms
// (AbstractSendMessageProcessor sets WAIT=false).
func (c *Consumer) SendBack(ctx context.Context, d *message.Delivery, back broker.SendBack) error {
	o, ok := d.Handle.(origin)
	if !ok {
		return fmt.Errorf("send back %s: it was not delivered by this backend", d.Identity)
	}
	if err := c.back.send(ctx, o, d.Topic, back); err != nil {
		return fmt.Errorf("send back %s: %w", d.Identity, err)
	}
	return nil
}
