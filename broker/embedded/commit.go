package embedded

import (
	"encoding/binary"
	"errors"
	"fmt"

	"github.com/remora-mq/remora/internal/kv"
)

// op is one change of the broker, written with others in one transaction.
// Broker.mu is held. An error fences the database: what a caller can do wrong
// is a result inside the op instead.
type op interface {
	write(b *Broker, tx *kv.Tx) error
}

// committer is the Broker as kv sees it, so that its methods are not exported.
type committer struct{ b *Broker }

// Write applies the ops in order, then saves what they touched.
func (c committer) Write(tx *kv.Tx, ops []op) error {
	c.b.mu.Lock()
	defer c.b.mu.Unlock()
	for _, o := range ops {
		if err := o.write(c.b, tx); err != nil {
			return err
		}
	}
	c.b.catalog.save(tx)
	return nil
}

// Synced publishes what the ops stored: consumers see it only now.
func (c committer) Synced([]op) {
	c.b.mu.Lock()
	defer c.b.mu.Unlock()
	c.b.catalog.publish()
}

func (c *catalog) save(tx *kv.Tx) {
	if c.positions {
		tx.Set([]byte(positionKey), binary.AppendUvarint(nil, c.position))
	}
	for t := range c.touched {
		tx.Set(topicKey(t.name), t.append(nil))
	}
	for tr := range c.unflushed {
		tx.Set(groupKey(tr.group, tr.topic), tr.append(nil))
	}
	clear(c.unflushed)
}

func (c *catalog) publish() {
	for t := range c.touched {
		for _, q := range t.queues {
			q.visible = q.next
		}
		for _, g := range c.groups {
			if g.tracks[t.name] != nil {
				g.notify()
			}
		}
	}
	c.schedule.add(c.scheduled)
	clear(c.touched)
	c.scheduled, c.positions = c.scheduled[:0], false
}

// place appends e to a queue.
func (c *catalog) place(tx *kv.Tx, t *topic, queue int, e *entry, now int64) error {
	c.position++
	c.positions = true
	e.position, e.storedAt = c.position, now
	if e.bornAt == 0 {
		e.bornAt = now
	}
	own(tx, e)
	if err := c.count(tx, t, e); err != nil {
		return err
	}
	q := t.queues[queue]
	tx.Set(entryKey(t.name, queue, q.next), e.append(nil))
	q.next++
	t.bytes += int64(e.bytes)
	c.touched[t] = struct{}{}
	return nil
}

// own makes the chunks of e exist: without it they are swept at open.
func own(tx *kv.Tx, e *entry) {
	if e.unit != 0 {
		tx.Set(unitKey(e.unit), []byte{1})
	}
}

// count keeps the number of copies that producers stored of one message.
func (c *catalog) count(tx *kv.Tx, t *topic, e *entry) error {
	if e.id.IsZero() || !e.produced() {
		return nil
	}
	n, err := readCount(tx, copiesKey(e.id))
	if err != nil {
		return err
	}
	if n > 0 {
		t.repeats++
	}
	tx.Set(copiesKey(e.id), binary.AppendUvarint(nil, n+1))
	return nil
}

type getter interface {
	Get(key []byte) ([]byte, error)
}

// readCount returns the number stored under key, 0 if there is none.
func readCount(from getter, key []byte) (uint64, error) {
	value, err := from.Get(key)
	if errors.Is(err, kv.ErrNotFound) {
		return 0, nil
	}
	if err != nil {
		return 0, err
	}
	n, used := binary.Uvarint(value)
	if used <= 0 {
		return 0, fmt.Errorf("count under %q: %w", key, errEntry)
	}
	return n, nil
}

// appendOp stores entries in one queue of a topic, which it makes if need be.
type appendOp struct {
	topic   string
	queues  int // of a topic that does not exist yet
	queue   int
	entries []*entry

	first int64 // result: offset of the first entry; the others follow
}

func (o *appendOp) write(b *Broker, tx *kv.Tx) error {
	t := b.catalog.obtain(o.topic, o.queues)
	o.queue %= len(t.queues) // somebody may have made the topic with fewer
	o.first = t.queues[o.queue].next
	now := millis(b.now())
	for _, e := range o.entries {
		if err := b.catalog.place(tx, t, o.queue, e, now); err != nil {
			return err
		}
	}
	return nil
}

func (o *appendOp) size() int {
	n := metaSize
	for _, e := range o.entries {
		n += e.size()
	}
	return n
}

// Bounds of what an op sets beside its entries, as kv.Queue.Commit wants them.
const (
	metaSize      = 2*longestKeySize + 3*binary.MaxVarintLen64*maxQueues
	perEntryExtra = longestKeySize + maxEnvelope + 64
)

// size bounds what storing e takes, keys and counters included.
func (e *entry) size() int { return len(e.record) + perEntryExtra }

// flushOp only makes a commit happen: progress rides in every one.
type flushOp struct{}

func (flushOp) write(b *Broker, _ *kv.Tx) error {
	b.flushing = false
	return nil
}
