package embedded

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/remora-mq/remora/broker"
	"github.com/remora-mq/remora/internal/kv"
	"github.com/remora-mq/remora/message"
)

// deadLetters implements broker.DeadLetters. Retention deletes what is old, as
// RocketMQ does.
type deadLetters struct {
	b     *Broker
	group string
}

// DeadLetters are those of a group. Closing them leaves the broker open.
func (b *Broker) DeadLetters(group string) (broker.DeadLetters, error) {
	if err := validName(group, maxGroup); err != nil {
		return nil, fmt.Errorf("group %q: %w", group, err)
	}
	return &deadLetters{b, group}, nil
}

func (d *deadLetters) topic() string { return deadPrefix + d.group }

// Queues implements broker.DeadLetters.
func (d *deadLetters) Queues(context.Context) ([]broker.DeadQueue, error) {
	d.b.mu.Lock()
	defer d.b.mu.Unlock()
	t := d.b.catalog.topics[d.topic()]
	if t == nil {
		return nil, nil
	}
	var all []broker.DeadQueue
	for i, q := range t.queues {
		all = append(all, broker.DeadQueue{Name: queueName(i), First: q.first, Next: q.visible})
	}
	return all, nil
}

// Read implements broker.DeadLetters. What the storage destroyed is passed over,
// and counted by Stats.
func (d *deadLetters) Read(ctx context.Context, queue string, from int64, most int) (all []broker.DeadLetter, next int64, err error) {
	n, q, err := d.find(ctx, queue)
	if err != nil {
		return nil, from, err
	}
	for next = max(from, q.First); next < q.Next && len(all) < most && ctx.Err() == nil; next++ {
		one, err := d.read(n, next)
		switch {
		case err == nil:
			all = append(all, one)
		case errors.Is(err, kv.ErrClosed), errors.Is(err, kv.ErrFenced):
			return all, next, err
		case !d.deleted(ctx, queue, next):
			d.b.noteLost(entryKey(d.topic(), n, next), err)
		}
	}
	return all, next, ctx.Err()
}

func (d *deadLetters) find(ctx context.Context, queue string) (n int, q broker.DeadQueue, err error) {
	all, err := d.Queues(ctx)
	for i, q := range all {
		if q.Name == queue {
			return i, q, nil
		}
	}
	return 0, q, errors.Join(err, fmt.Errorf("group %s has no dead letters in a queue %q", d.group, queue))
}

// deleted reports whether the retention was there first.
func (d *deadLetters) deleted(ctx context.Context, queue string, offset int64) bool {
	_, q, err := d.find(ctx, queue)
	return err == nil && offset < q.First
}

func (d *deadLetters) read(queue int, offset int64) (broker.DeadLetter, error) {
	e, err := readEntry(d.b.db, d.topic(), queue, offset)
	if err != nil {
		return broker.DeadLetter{}, err
	}
	m, err := e.message(d.b.db)
	if err != nil {
		return broker.DeadLetter{}, err
	}
	return broker.DeadLetter{
		Delivery: message.Delivery{
			Message: m, Group: d.group, Identity: e.identity(), BrokerMessageID: offsetMessageID(e.position),
			Queue: queueName(queue), Offset: offset, Attempt: e.attempt, BornAt: time.UnixMilli(e.bornAt), Handle: deadHandle{d, queue},
		},
		DiedAt: time.UnixMilli(e.storedAt),
	}, nil
}

// deadHandle says whose dead letter it is, and in which queue.
type deadHandle struct {
	of    *deadLetters
	queue int
}

// Redrive implements broker.DeadLetters: a copy in the group's retry topic.
func (d *deadLetters) Redrive(ctx context.Context, dead *broker.DeadLetter) error {
	h, ok := dead.Handle.(deadHandle)
	if !ok || h.of != d {
		return fmt.Errorf("redrive to group %s: %w", d.group, errForeign)
	}
	fault := d.b.strike(AtSend, RetryTopic(d.group))
	if fault.stores() {
		if err := d.store(ctx, h.queue, dead.Offset); err != nil {
			return fmt.Errorf("redrive to group %s: %w", d.group, sendError(err))
		}
	}
	if err := fault.answer(ctx); err != nil {
		return fmt.Errorf("redrive to group %s: %w", d.group, err)
	}
	return nil
}

func (d *deadLetters) store(ctx context.Context, queue int, offset int64) error {
	old, err := readEntry(d.b.db, d.topic(), queue, offset)
	if err != nil {
		return err
	}
	m, err := old.message(d.b.db)
	if err != nil {
		return err
	}
	enc := &encoder{b: d.b}
	e := enc.entry(&m)
	e.origin, e.bornAt = old.first(), old.bornAt
	if err := enc.flush(ctx); err != nil {
		return errors.Join(errNotStored, err)
	}
	return d.b.keepBack(ctx, d.group, e, broker.SendBack{})
}

// Pass implements broker.DeadLetters. Nobody else looks at this broker.
func (d *deadLetters) Pass(context.Context, string, int64) error { return nil }

// Close implements broker.DeadLetters.
func (d *deadLetters) Close() error { return nil }
