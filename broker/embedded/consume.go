package embedded

import (
	"context"
	"errors"
	"fmt"
	"runtime/debug"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/remora-mq/remora/broker"
	"github.com/remora-mq/remora/message"
)

const (
	// holdAfterError keeps a refused message from coming back in a hot loop.
	holdAfterError = 200 * time.Millisecond
	// flushWait bounds the last write of a consumer's progress.
	flushWait = 5 * time.Second
)

var errConsumedTwice = errors.New("Consume was called before: make a consumer of its own for each call")

// consumer is the broker.Consumer.
type consumer struct {
	b       *Broker
	sub     broker.Subscription
	started atomic.Bool
}

// Consumer returns a consumer of one subscription. The error names what the
// embedded broker cannot do: SQL filters.
func (b *Broker) Consumer(sub broker.Subscription) (broker.Consumer, error) {
	if err := checkSubscription(sub); err != nil {
		return nil, fmt.Errorf("subscription %s: %w", sub.Name, err)
	}
	sub.Tags = slices.Clone(sub.Tags)
	return &consumer{b: b, sub: sub}, nil
}

// Consume implements broker.Consumer.
func (c *consumer) Consume(ctx context.Context, receive broker.Receiver) error {
	if c.started.Swap(true) {
		return errConsumedTwice
	}
	var start broker.Start
	if c.sub.Starts != nil {
		start = c.start(ctx)
	}
	g, err := c.join(ctx)
	if errors.Is(err, errOtherSubscription) {
		return err
	}
	if err != nil {
		<-ctx.Done() // the broker is closed or failed: nothing comes any more
		return nil   //nolint:nilerr // the contract: only a subscription that can never work is an error
	}
	if c.sub.Starts != nil {
		c.sub.Starts(start)
	}
	w := &workers{start: func(w *workers) { c.work(ctx, g, w, receive) }}
	for range max(c.sub.Concurrency, 1) {
		w.add()
	}
	w.running.Wait()
	c.leave(ctx, g)
	return nil
}

// workers deliver one message at a time each. One whose message is parked is
// replaced, and ends with that message.
type workers struct {
	start   func(*workers)
	running sync.WaitGroup
}

func (w *workers) add() { w.running.Go(func() { w.start(w) }) }

func (c *consumer) leave(ctx context.Context, g *group) {
	c.b.mu.Lock()
	g.leave()
	c.b.mu.Unlock()
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), flushWait)
	defer cancel()
	if err := c.b.queue.Commit(ctx, flushOp{}, metaSize); err != nil {
		c.b.log.Debug("progress of a consumer is not written; its messages come again", "group", g.name, "error", err)
	}
}

// work delivers one message at a time until ctx is done, or it was replaced.
func (c *consumer) work(ctx context.Context, g *group, w *workers, receive broker.Receiver) {
	for replaced := new(atomic.Bool); !replaced.Load(); {
		l, offset, err := c.b.take(ctx, g)
		if err != nil {
			return
		}
		d, wanted, err := c.read(g, l, offset)
		switch {
		case err != nil:
			// The offset stays with this consumer: nothing passes it, and a
			// new membership tries again.
			c.b.notRead(g, l)
			c.b.noteLost(entryKey(l.track.topic, l.queue, offset), err)
		case !wanted:
			c.b.notRead(g, l)
			c.b.finish(g, l, offset, false)
		case !c.b.isTurn(g, l, offset, d.OrderingKey):
		default:
			d.Park = func() {
				if !replaced.Swap(true) {
					w.add()
				}
			}
			c.deliver(ctx, d, &handle{group: g, lane: l, offset: offset}, receive)
		}
	}
}

func (c *consumer) deliver(ctx context.Context, d *message.Delivery, h *handle, receive broker.Receiver) {
	topic := d.Topic // receive may do with d what it likes
	c.b.mu.Lock()
	h.group.delivered++
	c.b.mu.Unlock()
	d.Handle = h
	if err := guarded(ctx, d, receive); err != nil {
		if ctx.Err() == nil { // a receiver holds on until then
			c.b.log.Warn("delivery was given up and comes again", "subscription", c.sub.Name,
				"identity", d.Identity, "error", err)
		}
		c.b.hold(ctx, h)
		return
	}
	if fault := c.b.strike(AtAck, topic); fault.struck() {
		c.b.release(h)
		return
	}
	c.b.finish(h.group, h.lane, h.offset, true)
}

// guarded turns a panic of the receiver into an error: a message whose
// receiver broke down is not acked.
func guarded(ctx context.Context, d *message.Delivery, receive broker.Receiver) (err error) {
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("receiver panicked: %v\n%s", p, debug.Stack())
		}
	}()
	return receive(ctx, d)
}

// handle is what SendBack needs of a delivery.
type handle struct {
	group  *group
	lane   *lane
	offset int64
}

// read makes the delivery of an offset, if the group wants it.
func (c *consumer) read(g *group, l *lane, offset int64) (d *message.Delivery, wanted bool, err error) {
	e, err := c.b.readAhead(l, offset)
	if err != nil {
		return nil, false, err
	}
	m, err := e.message(c.b.db)
	if err != nil {
		return nil, false, err
	}
	if l.track.topic == c.sub.Topic && !c.wants(m.Tag) {
		return nil, false, nil
	}
	return &message.Delivery{
		Message: m, Subscription: c.sub.Name, Group: g.name,
		Identity: e.identity(), BrokerMessageID: offsetMessageID(e.position),
		Queue: l.name, Offset: offset, Attempt: e.attempt,
		BornAt: time.UnixMilli(e.bornAt),
	}, true, nil
}

func (c *consumer) wants(tag string) bool {
	return len(c.sub.Tags) == 0 || slices.Contains(c.sub.Tags, tag)
}
