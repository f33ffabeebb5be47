package embedded

import (
	"cmp"
	"context"
	"encoding/binary"
	"fmt"
	"slices"
	"time"

	"github.com/remora-mq/remora/internal/kv"
)

// delayed names an entry that waits for its time: its key without the prefix.
type delayed struct {
	due int64 // milliseconds since 1970
	seq uint64
}

// schedule holds what is delayed. The entries are on disk.
type schedule struct {
	waiting []delayed     // the next one last
	moving  int           // taken out of waiting, and not yet in its topic
	wake    chan struct{} // capacity 1: there may be a new next one
}

// later orders waiting.
func later(a, b delayed) int { return cmp.Or(cmp.Compare(b.due, a.due), cmp.Compare(b.seq, a.seq)) }

func newSchedule(waiting []delayed) schedule {
	slices.SortFunc(waiting, later)
	return schedule{waiting: waiting, wake: make(chan struct{}, 1)}
}

func (s *schedule) add(ds []delayed) {
	for _, d := range ds {
		at, _ := slices.BinarySearchFunc(s.waiting, d, later)
		s.waiting = slices.Insert(s.waiting, at, d)
	}
	if len(ds) > 0 {
		select {
		case s.wake <- struct{}{}:
		default:
		}
	}
}

// due removes what is due at now, and tells how long the next one has to wait.
func (s *schedule) due(now int64, most int) (ds []delayed, wait time.Duration) {
	for len(ds) < most && len(s.waiting) > 0 {
		last := len(s.waiting) - 1
		next := s.waiting[last]
		if next.due > now {
			return ds, time.Duration(next.due-now) * time.Millisecond
		}
		ds, s.waiting = append(ds, next), s.waiting[:last]
		s.moving++
	}
	return ds, time.Hour
}

// delayOp stores an entry that goes to a topic when it is due.
type delayOp struct {
	topic string
	due   int64
	entry *entry
}

func (o *delayOp) write(b *Broker, tx *kv.Tx) error {
	b.catalog.delaySeq++
	d := delayed{due: o.due, seq: b.catalog.delaySeq}
	own(tx, o.entry)
	value := binary.AppendUvarint(nil, uint64(len(o.topic)))
	value = append(value, o.topic...)
	tx.Set(delayKey(d), o.entry.append(value))
	b.catalog.scheduled = append(b.catalog.scheduled, d)
	return nil
}

func decodeDelayed(value []byte) (topic string, e *entry, err error) {
	n, used := binary.Uvarint(value)
	if used <= 0 || n > uint64(len(value)-used) {
		return "", nil, errEntry
	}
	rest := value[used:]
	e, err = decodeEntry(rest[n:])
	return string(rest[:n]), e, err
}

// moveOp appends delayed entries to their topics.
type moveOp []moving

type moving struct {
	delayed
	topic string
	entry *entry
}

func (o moveOp) write(b *Broker, tx *kv.Tx) error {
	now := millis(b.now())
	for _, m := range o {
		t := b.catalog.obtain(m.topic, 1)
		if err := b.catalog.place(tx, t, 0, m.entry, now); err != nil {
			return err
		}
		tx.Delete(delayKey(m.delayed))
	}
	return nil
}

// moveDelayed moves what is due, until ctx is done or the storage fails. What
// it did not come to is still on disk, for the next Open.
func (b *Broker) moveDelayed(ctx context.Context) {
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-timer.C:
		case <-b.catalog.schedule.wake:
		}
		wait, err := b.moveDue(ctx)
		if err != nil {
			return
		}
		timer.Reset(wait)
	}
}

// moveDue moves everything that is due and tells when the next one is.
func (b *Broker) moveDue(ctx context.Context) (time.Duration, error) {
	for {
		b.mu.Lock()
		due, wait := b.catalog.schedule.due(millis(b.now()), trimEntries)
		b.mu.Unlock()
		if len(due) == 0 {
			return wait, nil
		}
		if err := b.move(ctx, due); err != nil {
			return 0, err
		}
		b.mu.Lock()
		b.catalog.schedule.moving -= len(due)
		b.mu.Unlock()
	}
}

// move commits as many at a time as fit.
func (b *Broker) move(ctx context.Context, due []delayed) error {
	var o moveOp
	size := metaSize
	for _, d := range due {
		m, err := b.readDelayed(d)
		if err != nil {
			b.noteLost(delayKey(d), err)
			continue
		}
		if len(o) > 0 && size+m.entry.size() > chunksCommit {
			if err := b.queue.Commit(ctx, o, size); err != nil {
				return err
			}
			o, size = nil, metaSize
		}
		o, size = append(o, m), size+m.entry.size()
	}
	return b.queue.Commit(ctx, o, size)
}

func (b *Broker) readDelayed(d delayed) (moving, error) {
	value, err := b.db.Get(delayKey(d))
	if err != nil {
		return moving{}, fmt.Errorf("read a delayed message: %w", err)
	}
	topic, e, err := decodeDelayed(value)
	if err != nil {
		return moving{}, fmt.Errorf("read a delayed message: %w", err)
	}
	return moving{delayed: d, topic: topic, entry: e}, nil
}
