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

// maintain ends the retention of receipts and dedupe keys. It owns no state and
// changes it by operations, as everyone does.
func (s *Spool) maintain() {
	tick := time.NewTicker(maintainEvery)
	defer tick.Stop()
	for {
		select {
		case <-s.closing:
			return
		case <-s.db.Failed():
			return
		case <-tick.C:
		}
		if err := s.expire(); err != nil && !errors.Is(err, ErrClosed) && !s.closed() {
			s.opts.Logger.Error("retention of receipts and dedupe keys is behind; it is tried again", "error", err)
		}
	}
}

func (s *Spool) expire() error {
	if err := s.expireReceipts(); err != nil {
		return fmt.Errorf("expire receipts: %w", err)
	}
	if err := s.expireKeys(); err != nil {
		return fmt.Errorf("expire dedupe keys: %w", err)
	}
	return nil
}

// expireKeys drops the oldest hours: those out of the window, and, over the
// budget, others.
func (s *Spool) expireKeys() error {
	s.mu.Lock()
	oldest := hourOf(s.now().Add(-s.opts.DedupeWindow))
	over := (s.keys.bytes() - s.opts.DedupeLimit + keyCost - 1) / keyCost
	hours := slices.Sorted(maps.Keys(s.keys.hours))
	var gone []uint64
	for _, h := range hours {
		if h < oldest || over > 0 {
			gone = append(gone, h)
			over -= int64(s.keys.hours[h])
		}
	}
	s.mu.Unlock()
	for _, h := range gone {
		if err := s.expireHour(h); err != nil {
			return err
		}
	}
	return nil
}

// expireHour drops the entries of an hour, one a commit. A key that has to stay
// moves into the hour of now.
func (s *Spool) expireHour(hour uint64) error {
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
		if err != nil {
			return err
		}
		op := &dropKeys{hour: hour, entry: p.key}
		for _, k := range keys {
			if s.keyMayGo(k.ref.seq) {
				op.gone = append(op.gone, k)
			} else {
				op.kept = append(op.kept, k)
			}
		}
		if err := s.commit(s.life, op); err != nil {
			return err
		}
	}
	return nil
}

// keyMayGo: never while the message is held, nor soon after it was settled.
func (s *Spool) keyMayGo(seq uint64) bool {
	if !s.isSettled(seq) {
		return false
	}
	since, known := s.settledSince(seq, s.now())
	return !known || since >= keyGrace || since < 0 && s.opts.DedupeWindow <= keyGrace
}

// dropKeys deletes one entry of dedupe keys; those kept move.
type dropKeys struct {
	hour       uint64
	entry      []byte
	gone, kept []keyEntry
}

func (d *dropKeys) size() int { return fixedSize + (len(d.gone)+len(d.kept))*deleteSize }

func (d *dropKeys) apply(c *commit) {
	x := &c.s.keys
	x.droppedTo = max(x.droppedTo, d.hour)
	for _, k := range d.gone {
		if x.refs[k.hash] == k.ref { // else the key was used anew
			delete(x.refs, k.hash)
		}
	}
	if x.hours[d.hour] -= len(d.gone) + len(d.kept); x.hours[d.hour] <= 0 {
		delete(x.hours, d.hour)
	}
	for _, k := range d.kept {
		c.keep(k)
	}
	c.deletes = append(c.deletes, d.entry)
}

func (d *dropKeys) synced(*Spool) {}

// DedupeWindow is the window in effect: since when every key is known.
func (s *Spool) DedupeWindow() time.Duration {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.keys.droppedTo == 0 {
		return s.opts.DedupeWindow
	}
	since := s.now().Sub(time.Unix(int64(s.keys.droppedTo+1)*3600, 0))
	return min(max(since, 0), s.opts.DedupeWindow)
}
