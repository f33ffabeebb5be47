package embedded

import (
	"context"
	"encoding/binary"
	"time"

	"github.com/remora-mq/remora/internal/kv"
)

const (
	retainEvery = time.Minute
	// Bounds of one commit of the retention.
	trimEntries = 256
	trimBytes   = 4 << 20
	trimSize    = trimEntries * (longestKeySize + 10*dropSize + 64)
)

// retain removes what is old until ctx is done.
func (b *Broker) retain(ctx context.Context) {
	ticker := time.NewTicker(retainEvery)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
		}
		if err := b.trim(ctx, b.now()); err != nil {
			return // closed or failed: the next Open goes on
		}
	}
}

// trim removes everything that the retention allows, in bounded commits.
func (b *Broker) trim(ctx context.Context, now time.Time) error {
	for {
		o := &trimOp{before: millis(now.Add(-b.opts.Retention.Age)), keep: b.opts.Retention.Bytes}
		if err := b.queue.Commit(ctx, o, trimSize); err != nil {
			return err
		}
		if !o.more {
			return nil
		}
	}
}

// trimOp removes entries that every group has passed, the oldest first: those
// stored before a time, and then until no more than keep bytes are left.
type trimOp struct {
	before int64 // milliseconds since 1970
	keep   int64
	more   bool // result: the bounds of one commit were reached
}

// head is the oldest entry of a queue, when it may be removed.
type head struct {
	topic *topic
	queue int
	limit int64 // offset of the first entry that may not be removed
	entry *entry
}

func (o *trimOp) write(b *Broker, tx *kv.Tx) error {
	heads := b.heads(tx)
	kept := b.catalog.bytes()
	for removed, read := 0, 0; ; removed++ {
		i := oldest(heads)
		if i < 0 || heads[i].entry.storedAt >= o.before && kept <= o.keep {
			return nil
		}
		if removed == trimEntries || read > trimBytes {
			o.more = true
			return nil
		}
		h := &heads[i]
		kept -= int64(h.entry.bytes)
		read += len(h.entry.record)
		if err := b.catalog.remove(tx, h); err != nil {
			return err
		}
		if !h.read(b, tx) {
			heads = append(heads[:i], heads[i+1:]...)
		}
	}
}

// heads lists the queues that have something to remove.
func (b *Broker) heads(tx *kv.Tx) []head {
	var heads []head
	for _, t := range b.catalog.topics {
		for i := range t.queues {
			h := head{topic: t, queue: i, limit: b.catalog.passed(t, i)}
			if h.read(b, tx) {
				heads = append(heads, h)
			}
		}
	}
	return heads
}

// read fetches the oldest entry; false: there is none to remove. An unreadable
// one ends the retention of its queue: it is evidence.
func (h *head) read(b *Broker, tx *kv.Tx) bool {
	first := h.topic.queues[h.queue].first
	if first >= h.limit {
		return false
	}
	var err error
	if h.entry, err = readEntry(tx, h.topic.name, h.queue, first); err != nil {
		b.unreadable[string(entryKey(h.topic.name, h.queue, first))] = struct{}{}
		return false
	}
	return true
}

func oldest(heads []head) int {
	found := -1
	for i := range heads {
		if found < 0 || heads[i].entry.position < heads[found].entry.position {
			found = i
		}
	}
	return found
}

// passed is the offset in a queue that every group of its topic has reached.
func (c *catalog) passed(t *topic, queue int) int64 {
	limit := t.queues[queue].visible
	for _, g := range c.groups {
		if tr := g.tracks[t.name]; tr != nil {
			limit = min(limit, tr.lanes[queue].low)
		}
	}
	return limit
}

func (c *catalog) bytes() (n int64) {
	for _, t := range c.topics {
		n += t.bytes
	}
	return n
}

// remove deletes the oldest entry of a queue with all that belongs to it.
func (c *catalog) remove(tx *kv.Tx, h *head) error {
	q := h.topic.queues[h.queue]
	tx.Delete(entryKey(h.topic.name, h.queue, q.first))
	q.first++
	h.topic.bytes -= int64(h.entry.bytes)
	c.touched[h.topic] = struct{}{}
	if h.entry.unit != 0 {
		tx.Delete(unitKey(h.entry.unit))
		for n := range h.entry.chunks {
			tx.Delete(chunkKey(h.entry.unit, n))
		}
	}
	return c.uncount(tx, h.entry)
}

// uncount takes back what count added.
func (c *catalog) uncount(tx *kv.Tx, e *entry) error {
	if e.id.IsZero() || !e.produced() {
		return nil
	}
	key := copiesKey(e.id)
	n, err := readCount(tx, key)
	switch {
	case err != nil:
		return err
	case n > 1:
		tx.Set(key, binary.AppendUvarint(nil, n-1))
	default:
		tx.Delete(key)
	}
	return nil
}
