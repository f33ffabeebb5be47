package embedded

import (
	"context"
	"fmt"
	"time"

	"github.com/remora-mq/remora/broker"
	"github.com/remora-mq/remora/internal/kv"
)

var _ broker.Seeker = (*consumer)(nil)

// Places implements broker.Seeker.
func (c *consumer) Places(ctx context.Context, at time.Time) ([]broker.Place, error) {
	places := c.b.places(c.sub)
	for i := range places { // without the lock: a read waits for the commit that takes it
		p := &places[i]
		p.At, _ = firstSince(c.b.db, c.sub.Topic, i, p.First, p.End, at)
	}
	return places, ctx.Err()
}

func (b *Broker) places(sub broker.Subscription) (all []broker.Place) {
	b.mu.Lock()
	defer b.mu.Unlock()
	t := b.catalog.topics[sub.Topic]
	if t == nil {
		return nil
	}
	var lanes []*lane
	if g := b.catalog.groups[sub.Group]; g != nil && g.tracks[sub.Topic] != nil {
		lanes = g.tracks[sub.Topic].lanes
	}
	for i, q := range t.queues {
		p := broker.Place{Queue: queueName(i), First: q.first, Next: -1, End: q.visible}
		if i < len(lanes) {
			p.Next = lanes[i].low
		}
		all = append(all, p)
	}
	return all
}

// Members implements broker.Seeker: nobody else has a member.
func (*consumer) Members(context.Context) ([]string, error) { return nil, nil }

// Seek implements broker.Seeker.
func (c *consumer) Seek(ctx context.Context, to []broker.Seek) error {
	o := &seekOp{joinOp: joinOp{group: c.sub.Group, topic: c.sub.Topic, from: c.sub.From}, to: map[string]int64{}}
	for _, s := range to {
		o.to[s.Queue] = s.To
	}
	if err := c.b.queue.Commit(ctx, o, o.size()); err != nil {
		return fmt.Errorf("set the place of group %s: %w", c.sub.Group, err)
	}
	return o.err
}

// seekOp sets where a group without members is.
type seekOp struct {
	joinOp

	to  map[string]int64 // by queue
	err error            // result
}

func (o *seekOp) write(b *Broker, tx *kv.Tx) error {
	g := b.catalog.group(o.group)
	if g.members > 0 {
		o.err = fmt.Errorf("group %s: %w: %d in this process", o.group, broker.ErrMembers, g.members)
		return nil
	}
	if err := o.joinOp.write(b, tx); err != nil {
		return err
	}
	tr := g.tracks[o.topic]
	for _, l := range tr.lanes {
		to, named := o.to[queueName(l.queue)]
		if l.source == nil || !named {
			continue
		}
		l.low = min(max(to, l.source.first), l.source.visible)
		l.next, l.again, l.done, l.turns = l.low, nil, nil, nil
		l.acked = min(l.acked, l.low)
	}
	b.catalog.unflushed[tr] = struct{}{}
	return nil
}

// start sums up where a group begins, before it does.
func (c *consumer) start(ctx context.Context) broker.Start {
	oldAt := c.b.now().Add(-broker.OldAfter)
	places, err := c.Places(ctx, oldAt)
	if err != nil {
		return broker.Start{}
	}
	return broker.StartOf(places, oldAt, func(queue int, p broker.Place) int64 {
		switch from := c.sub.From; {
		case from.Latest:
			return p.End
		case !from.Time.IsZero():
			at, _ := firstSince(c.b.db, c.sub.Topic, queue, p.First, p.End, from.Time)
			return at
		}
		return p.First
	})
}
