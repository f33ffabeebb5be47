package spool

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/remora-mq/remora/internal/kv"
)

const (
	maintainEvery = 5 * time.Second
	// keyGrace is how long a dedupe key outlives the settling of its message,
	// whatever the budget says.
	keyGrace = 15 * time.Minute
)

// maintain ends the retention of receipts, dedupe keys, exceptions and transactions. It owns no state and
// changes it by operations, as everyone does.
func (s *Spool) maintain() {
	tick := time.NewTicker(maintainEvery)
	defer tick.Stop()
	for {
		due := s.expire
		select {
		case <-s.closing:
			return
		case <-s.db.Failed():
			return
		case <-tick.C:
		case <-s.retained.over:
			due = s.expireRetained
		}
		if err := due(); err != nil && !errors.Is(err, ErrClosed) && !s.closed() {
			s.opts.Logger.Error("retention is behind; it is tried again", "error", err)
		}
	}
}

func (s *Spool) expire() error {
	if err := s.watchClock(); err != nil {
		return err
	}
	if err := s.expireReceipts(); err != nil {
		return fmt.Errorf("expire receipts: %w", err)
	}
	if err := s.expireKeys(); err != nil {
		return fmt.Errorf("expire dedupe keys: %w", err)
	}
	if err := s.expireRetained(); err != nil {
		return fmt.Errorf("expire confirmed messages: %w", err)
	}
	if err := s.expireExceptions(); err != nil {
		return fmt.Errorf("expire the ledger's exceptions: %w", err)
	}
	if err := s.forgetTransactions(); err != nil {
		return fmt.Errorf("forget transactions: %w", err)
	}
	return nil
}

// expireKeys drops the oldest hours: those out of the window, and, over the
// budget, others.
func (s *Spool) expireKeys() error {
	s.mu.Lock()
	s.receipts.forget(nanos(s.certain(0).Add(-keyGrace)))
	oldest := hourOf(s.clock.time().Add(-s.opts.DedupeWindow))
	if s.clockHeld() {
		oldest = 0
	}
	over := (s.keys.bytes() - s.opts.DedupeLimit + keyCost - 1) / keyCost
	hours := slices.Sorted(maps.Keys(s.keys.hours))
	counts := make(map[uint64]int, len(hours))
	for _, h := range hours {
		counts[h] = s.keys.hours[h].keys
	}
	s.mu.Unlock()
	for _, h := range hours {
		if h >= oldest && over <= 0 {
			break
		}
		over -= int64(counts[h])
		if err := s.expireHour(h, h < oldest); err != nil {
			return err
		}
	}
	return nil
}

// expireHour drops the entries of an hour, one a commit. Keys that have to stay
// move into the hour of now; an entry of which all have to stay, and that is not
// too old, is left alone.
func (s *Spool) expireHour(hour uint64, old bool) error {
	var entries []pair
	err := s.db.Scan(kv.Scan{Prefix: key64(keyPrefix, hour)}, func(k, v []byte) (bool, error) {
		entries = append(entries, pair{slices.Clone(k), slices.Clone(v)})
		return true, nil
	})
	if err != nil {
		return err
	}
	for _, p := range entries {
		keys, err := decodeKeys(p.value)
		if err != nil { // the next opening drops it
			s.notice(nameOf(p.key))
			continue
		}
		op := &dropKeys{hour: hour, entry: p.key}
		op.gone, op.kept = s.sortKeys(keys, old)
		if len(op.gone) == 0 && !old {
			continue
		}
		if err := s.commit(s.life, op); err != nil {
			return err
		}
	}
	return nil
}

// sortKeys tells which keys may go: never while the message is held, nor soon
// after it was settled. What was settled elsewhere has no such time: to make room
// it goes no sooner than that after it came, and out of the window at once.
func (s *Spool) sortKeys(keys []keyEntry, old bool) (gone, kept []keyEntry) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, k := range keys {
		seq := k.ref.seq
		by := s.receipts.settledBy(seq >> receiptBucketShift)
		settled := s.settled.has(seq) && by <= nanos(s.certain(by/1e6).Add(-keyGrace))
		if came := cameAt(seq); settled || elsewhere(seq) && (old || !came.After(s.certain(millis(came)).Add(-keyGrace))) {
			gone = append(gone, k)
		} else {
			kept = append(kept, k)
		}
	}
	return gone, kept
}

// dropKeys deletes one entry of dedupe keys; those kept move.
type dropKeys struct {
	hour       uint64
	entry      []byte
	gone, kept []keyEntry
}

func (d *dropKeys) size() int { return fixedSize + len(d.gone)*deleteSize + len(d.kept)*(keyBytes+1) }

func (d *dropKeys) apply(c *commit) {
	s := c.s
	part := tail64(d.entry, len(keyPrefix)+8)
	for _, k := range d.gone {
		if !s.keys.drop(k.hash, d.hour, part) {
			continue // it was, before
		}
		s.keys.leave(k.ref.seq)
		if s.ended[k.ref.seq] {
			delete(s.ended, k.ref.seq)
			c.deletes = append(c.deletes, endedKey(k.ref.seq))
		}
	}
	if len(d.gone) > 0 {
		s.head.keysGone = max(s.head.keysGone, d.hour)
	}
	for _, k := range d.kept {
		if s.keys.drop(k.hash, d.hour, part) && s.keys.has(k.ref.seq) {
			c.keep(k, hourOf(c.at))
		}
	}
	c.deletes = append(c.deletes, d.entry)
}

func (d *dropKeys) synced(*Spool) {}

// DedupeWindow is the window in effect: since when every key is known.
func (s *Spool) DedupeWindow() time.Duration {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.head.keysGone == 0 {
		return s.opts.DedupeWindow
	}
	since := s.clock.time().Sub(time.Unix(int64(s.head.keysGone+1)*3600, 0))
	return min(max(since, 0), s.opts.DedupeWindow)
}
