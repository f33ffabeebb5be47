package ackgate

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"sync"
	"time"

	"github.com/remora-mq/remora/internal/kv"
)

// Pauses remembers which subscriptions an operator has paused, in the database of
// the spool: a restart resumes none. A subscription that is configured no more
// stays paused for when it is again. Methods may be called from many goroutines.
type Pauses struct {
	queue *kv.Queue[*pauseOp]

	mu    sync.Mutex
	since map[string]time.Time // by subscription
}

// pauseOp pauses a subscription, or resumes it.
type pauseOp struct {
	name  string
	since time.Time // zero: resume
}

// An entry is pausePrefix and the name; its value a version, since when in
// milliseconds as a uvarint, and the CRC32C of both.
const (
	pausePrefix  = "c/p/"
	pauseVersion = 1
	maxPause     = 1 + binary.MaxVarintLen64 + 4
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

var errPause = errors.New("entry of a paused subscription is damaged, or of a newer version")

// OpenPauses reads them from db, which the caller closes. The subscription of an
// entry that is damaged is paused: that its entry is there means so.
func OpenPauses(db *kv.DB) (*Pauses, error) {
	p := &Pauses{since: map[string]time.Time{}}
	err := db.Scan(kv.Scan{Prefix: []byte(pausePrefix), Whole: true}, func(key, value []byte) (bool, error) {
		since, err := decodePause(value)
		if err != nil {
			since = time.Now()
		}
		p.since[string(key[len(pausePrefix):])] = since
		return true, nil
	})
	if err != nil {
		return nil, fmt.Errorf("read the paused subscriptions: %w", err)
	}
	p.queue = kv.Attach(db, p)
	return p, nil
}

// Pause notes that a subscription is paused, and returns since when. When it
// returns nil that is on stable storage.
func (p *Pauses) Pause(ctx context.Context, name string) (time.Time, error) {
	if since, is := p.Since(name); is {
		return since, nil
	}
	op := &pauseOp{name, time.Now().UTC().Truncate(time.Millisecond)}
	if err := p.queue.Commit(ctx, op, op.size()); err != nil {
		return time.Time{}, fmt.Errorf("pause subscription %s: %w", name, err)
	}
	return op.since, nil
}

// Resume forgets that. When it returns nil that is on stable storage.
func (p *Pauses) Resume(ctx context.Context, name string) error {
	if _, is := p.Since(name); !is {
		return nil
	}
	op := &pauseOp{name: name}
	if err := p.queue.Commit(ctx, op, op.size()); err != nil {
		return fmt.Errorf("resume subscription %s: %w", name, err)
	}
	return nil
}

// Since tells since when a subscription is paused.
func (p *Pauses) Since(name string) (since time.Time, is bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	since, is = p.since[name]
	return since, is
}

func (o *pauseOp) key() []byte { return []byte(pausePrefix + o.name) }

func (o *pauseOp) size() int { return len(o.key()) + maxPause + kv.EntryOverhead }

// Write implements kv.Participant.
func (*Pauses) Write(tx *kv.Tx, ops []*pauseOp) error {
	for _, o := range ops {
		if o.since.IsZero() {
			tx.Delete(o.key())
		} else {
			tx.Set(o.key(), encodePause(o.since))
		}
	}
	return nil
}

// Synced implements kv.Participant.
func (p *Pauses) Synced(ops []*pauseOp) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, o := range ops {
		if o.since.IsZero() {
			delete(p.since, o.name)
		} else {
			p.since[o.name] = o.since
		}
	}
}

func encodePause(since time.Time) []byte {
	b := binary.AppendUvarint([]byte{pauseVersion}, uint64(since.UnixMilli()))
	return binary.BigEndian.AppendUint32(b, crc32.Checksum(b, castagnoli))
}

func decodePause(b []byte) (time.Time, error) {
	n := len(b) - 4
	if n < 2 || b[0] != pauseVersion || crc32.Checksum(b[:n], castagnoli) != binary.BigEndian.Uint32(b[n:]) {
		return time.Time{}, errPause
	}
	ms, used := binary.Uvarint(b[1:n])
	if used != n-1 {
		return time.Time{}, errPause
	}
	return time.UnixMilli(int64(ms)).UTC(), nil
}
