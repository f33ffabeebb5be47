package spool

import (
	"cmp"
	"errors"
	"fmt"
	"slices"

	"github.com/remora-mq/remora/internal/kv"
)

// metKey is a key that has the tag of one that was loaded before: in a former entry.
// It may be the same, of a delayed message that has moved.
type metKey struct {
	hash   keyHash
	seq    uint64
	former uint64
}

// loadKeys reads the whole window: of messages that are not held it is bounded by its
// budget.
func (s *Spool) loadKeys() error {
	x, met := &s.keys, []metKey(nil)
	err := s.scanAll(keyPrefix, func(k, v []byte) error {
		hour, part := tail64(k, len(keyPrefix)), tail64(k, len(keyPrefix)+8)
		x.part = max(x.part, part)
		return eachKeyIn(v, func(e keyEntry) {
			for _, former := range x.tags.parts(e.hash, 1<<partBits-1) {
				met = append(met, metKey{e.hash, e.ref.seq, former})
			}
			x.found(e, hour, part)
		})
	})
	x.youngFrom, x.inMapsFrom = x.part+1, x.part+1
	if err != nil {
		return err
	}
	return s.outdate(met)
}

// outdate finds, of keys that stand in two entries, the one that counts no more. Each
// entry is read once.
func (s *Spool) outdate(met []metKey) error {
	x := &s.keys
	for i := range met {
		met[i].former = wholePart(met[i].former, x.part)
	}
	slices.SortStableFunc(met, func(a, b metKey) int { return cmp.Compare(a.former, b.former) })
	var keys []keyEntry
	for i, m := range met {
		if i == 0 || m.former != met[i-1].former {
			var err error
			if keys, err = s.keysIn(keyPlace{m.former, x.hoursOf(m.former)}); err != nil {
				return fmt.Errorf("read dedupe keys again: %w", err)
			}
		}
		for _, old := range keys {
			switch seq := old.ref.seq; {
			case old.hash != m.hash || seq == m.seq:
			case seq > m.seq && !elsewhere(seq): // that was delayed, and moved
				x.leave(m.seq)
			default:
				x.leave(seq)
			}
		}
	}
	return nil
}

func (s *Spool) keysIn(p keyPlace) (keys []keyEntry, err error) {
	err = s.eachKeyAt(p, func(e keyEntry) { keys = append(keys, e) })
	return keys, err
}

// eachKeyAt calls fn with each key of an entry. kv.ErrNotFound: there is no such entry.
func (s *Spool) eachKeyAt(p keyPlace, fn func(keyEntry)) error {
	for _, hour := range p.hours {
		v, err := s.db.Get(dedupeKey(hour, p.part))
		if err == nil {
			return eachKeyIn(v, fn)
		}
		if !errors.Is(err, kv.ErrNotFound) {
			return err
		}
	}
	return kv.ErrNotFound
}
