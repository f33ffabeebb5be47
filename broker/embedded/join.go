package embedded

import (
	"context"
	"fmt"
	"sort"
	"time"

	"github.com/remora-mq/remora/broker"
	"github.com/remora-mq/remora/internal/kv"
)

// joinOp gives a group its place in a topic if it has none. It is durable
// before the first delivery: else a crash would let a group that starts at the
// end start there again, and skip what came between.
type joinOp struct {
	group, topic string
	from         broker.From
}

func (o *joinOp) write(b *Broker, tx *kv.Tx) error {
	g := b.catalog.group(o.group)
	for _, name := range []string{o.topic, g.retryTopic()} {
		if g.tracks[name] != nil {
			continue
		}
		from := o.from
		if name != o.topic {
			from = broker.From{} // what the group gave back is always its own
		}
		tr := b.newTrack(tx, o.group, name, from)
		g.tracks[name] = tr
		b.catalog.unflushed[tr] = struct{}{}
	}
	return nil
}

func (o *joinOp) size() int { return 2 * (metaSize + len(o.group)) }

func (b *Broker) newTrack(tx *kv.Tx, group, name string, from broker.From) *track {
	tr := &track{group: group, topic: name}
	t := b.catalog.topics[name]
	if t == nil {
		return tr // all that it will hold comes later
	}
	tr.extend(t)
	for i, l := range tr.lanes {
		start := b.startOf(tx, t, i, from)
		l.low, l.next = start, start
	}
	return tr
}

// startOf returns the offset at which a new group begins in a queue.
func (b *Broker) startOf(tx *kv.Tx, t *topic, queue int, from broker.From) int64 {
	q := t.queues[queue]
	switch {
	case from.Latest:
		return q.visible
	case from.Time.IsZero():
		return q.first
	}
	at, err := firstSince(tx, t.name, queue, q.first, q.visible, from.Time)
	if err != nil {
		b.log.Warn("group starts early, because a message is unreadable", "topic", t.name, "queue", queue, "error", err)
	}
	return at
}

// firstSince finds the first message from first to end that was stored at a time or
// later. Of an error the offset is an earlier one.
func firstSince(from getter, topic string, queue int, first, end int64, at time.Time) (int64, error) {
	var failed error
	n := sort.Search(int(end-first), func(i int) bool {
		e, err := readEntry(from, topic, queue, first+int64(i))
		if err != nil {
			failed = fmt.Errorf("look for a message by its time: %w", err)
			return true // the earlier, the safer
		}
		return e.storedAt >= millis(at)
	})
	return first + int64(n), failed
}

// join makes the consumer a member of its group.
func (c *consumer) join(ctx context.Context) (*group, error) {
	b := c.b
	o := &joinOp{group: c.sub.Group, topic: c.sub.Topic, from: c.sub.From}
	if err := b.queue.Commit(ctx, o, o.size()); err != nil {
		return nil, fmt.Errorf("join group %s: %w", c.sub.Group, err)
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	g := b.catalog.groups[c.sub.Group]
	if err := g.join(c.sub); err != nil {
		return nil, err
	}
	return g, nil
}
