package embedded

import (
	"context"
	"errors"
	"fmt"

	"github.com/remora-mq/remora/broker"
	"github.com/remora-mq/remora/message"
)

var errForeign = errors.New("the delivery is not of this consumer's group")

// SendBack implements broker.Consumer. Delays are kept to the millisecond; the
// copy has the same identity and one attempt more. An error is a
// *broker.SendError, unless d is not of this group.
func (c *consumer) SendBack(ctx context.Context, d *message.Delivery, back broker.SendBack) error {
	h, ok := d.Handle.(*handle)
	if !ok || h.group.name != c.sub.Group {
		return fmt.Errorf("send back to group %s: %w", c.sub.Group, errForeign)
	}
	fault := c.b.strike(AtSendBack, d.Topic)
	if fault.stores() {
		if err := c.b.giveBack(ctx, h, back); err != nil {
			return fmt.Errorf("send back to group %s: %w", c.sub.Group, sendError(err))
		}
	}
	if err := fault.answer(ctx); err != nil {
		return fmt.Errorf("send back to group %s: %w", c.sub.Group, err)
	}
	return nil
}

// giveBack stores a copy of what h points to, read from the disk: the
// delivery's own message is in the caller's hands.
func (b *Broker) giveBack(ctx context.Context, h *handle, back broker.SendBack) error {
	old, err := readEntry(b.db, h.lane.track.topic, h.lane.queue, h.offset)
	if err != nil {
		return err
	}
	m, err := old.message(b.db)
	if err != nil {
		return err
	}
	enc := &encoder{b: b}
	e := enc.entry(&m)
	e.origin, e.bornAt, e.attempt = old.first(), old.bornAt, old.attempt+1
	if err := enc.flush(ctx); err != nil {
		return errors.Join(errNotStored, err)
	}
	if err := b.keepBack(ctx, h.group.name, e, back); err != nil {
		return err
	}
	b.mu.Lock()
	h.group.sentBack++
	b.mu.Unlock()
	return nil
}

func (b *Broker) keepBack(ctx context.Context, group string, e *entry, back broker.SendBack) error {
	switch {
	case back.DeadLetter:
		o := &appendOp{topic: deadPrefix + group, queues: 1, entries: []*entry{e}}
		e.attempt-- // it was not delivered once more
		return b.queue.Commit(ctx, o, o.size())
	case back.Delay <= 0:
		o := &appendOp{topic: retryPrefix + group, queues: 1, entries: []*entry{e}}
		return b.queue.Commit(ctx, o, o.size())
	}
	o := &delayOp{topic: retryPrefix + group, due: millis(b.now().Add(back.Delay)) + 1, entry: e}
	return b.queue.Commit(ctx, o, metaSize+e.size())
}
