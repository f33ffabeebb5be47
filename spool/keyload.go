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
// former entry is read once, for all keys that lead to it.
func (s *Spool) outdate(met []metKey) error {
	x := &s.keys
	for i := range met {
		met[i].former = wholePart(met[i].former, x.part)
	}
	slices.SortStableFunc(met, func(a, b metKey) int { return cmp.Compare(a.former, b.former) })
	later := map[keyHash][]uint64{} // sequences
	for i, m := range met {
		later[m.hash] = append(later[m.hash], m.seq)
		if i+1 < len(met) && met[i+1].former == m.former {
			continue
		}
		if err := s.outdateIn(keyPlace{m.former, x.hoursOf(m.former)}, later); err != nil {
			return fmt.Errorf("read dedupe keys again: %w", err)
		}
		clear(later)
	}
	return nil
}

// outdateIn does that for one of the former entries. One that is not found any more, which
// the scan has shown with no damaged block near, must not end every opening: then both keys
// count, which tells a repeat the same.
func (s *Spool) outdateIn(p keyPlace, later map[keyHash][]uint64) error {
	err := s.eachKeyAt(p, func(former keyEntry) {
		for _, seq := range later[former.hash] {
			s.keys.outdate(former.ref.seq, seq)
		}
	})
	if errors.Is(err, kv.ErrNotFound) {
		return nil
	}
	return err
}

// outdate makes the key of one of two sequences count no more.
func (x *keyIndex) outdate(former, seq uint64) {
	switch {
	case former == seq:
	case former > seq && !elsewhere(former): // that was delayed, and moved
		x.leave(seq)
	default:
		x.leave(former)
	}
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
