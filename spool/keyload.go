package spool

import (
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"maps"
	"slices"

	"github.com/remora-mq/remora/internal/kv"
)

// loadKeys reads the whole window: of messages that are not held it is bounded by its
// budget.
func (s *Spool) loadKeys() error {
	x := &s.keys
	x.tags.expect(s.mostKeys())
	err := s.scanAll(keyPrefix, func(k, v []byte) error {
		hour, part := tail64(k, len(keyPrefix)), tail64(k, len(keyPrefix)+8)
		x.part = max(x.part, part)
		keys, err := keysIn(v)
		if err == nil {
			x.load(keys, hour, part)
		}
		return err
	})
	x.youngFrom, x.inMapsFrom = x.part+1, x.part+1
	if err != nil {
		return err
	}
	return s.outdate(x.tags.sort(), outdateAtOnce)
}

// mostKeys is about how many keys there can be: those of held messages, and those that
// the budget allows.
func (s *Spool) mostKeys() int {
	most := uint64(s.opts.DedupeLimit / keyCost)
	for _, l := range s.lanes {
		most += l.counts.held()
	}
	return int(min(most, s.head.highWater))
}

// load is found for all keys of an entry. Until all entries are loaded the tags are not
// in order.
func (x *keyIndex) load(keys []byte, hour, part uint64) {
	if len(keys) == 0 {
		return
	}
	h := x.hour(hour, part)
	var of *bitmap
	at := uint64(0)
	for k := range slices.Chunk(keys, keyBytes) {
		seq := seqOfKey(k)
		x.tags.collect(keyHash(k[:16]), part)
		h.note(part, seq)
		if r := seq >> bitmapShift; of == nil || r != at || elsewhere(seq) {
			of, at = x.rangeOf(seq), r
		}
		if of.set(seq) {
			x.count++
		}
	}
}

// keyAt is a key in the entry where it stands.
type keyAt struct {
	hash keyHash
	seq  uint64
	hour uint64
	part uint64
}

// outdateAtOnce bounds the keys that outdate compares at a time: some 40 bytes each.
const outdateAtOnce = 1 << 20

// outdate finds, of keys that stand in several entries, those that count no more. shared
// are, by segment, the tags of those that do; most are of a delayed message that has
// moved, and some of keys that differ.
func (s *Spool) outdate(shared []int, atOnce int) error {
	for from := 0; from < len(shared); {
		to, count := from, 0
		for ; to < len(shared) && (to == from || count+shared[to] <= atOnce); to++ {
			count += shared[to]
		}
		if count > 0 {
			if err := s.outdateIn(from, to, count); err != nil {
				return err
			}
		}
		from = to
	}
	return nil
}

// outdateIn is outdate for some of the segments. Each entry is read once.
func (s *Spool) outdateIn(from, to, count int) error {
	parts := map[uint64]bool{}
	for n := from; n < to; n++ {
		for t := range s.keys.tags.sharedIn(n) {
			parts[wholePart(t.low, s.keys.part)] = true
		}
	}
	all := make([]keyAt, 0, count)
	for _, part := range slices.Sorted(maps.Keys(parts)) {
		err := s.eachKeyAt(s.db, keyPlace{part, s.keys.hoursOf(part)}, func(hour uint64, e keyEntry) {
			if n, _ := slotOf(e.hash, part); from <= n && n < to && s.keys.tags.shares(e.hash) {
				all = append(all, keyAt{e.hash, e.ref.seq, hour, part})
			}
		})
		// One that is not found any more, which the scan has shown with no damaged block
		// near, must not end every opening: then both keys count, which tells a repeat the
		// same.
		if err != nil && !errors.Is(err, kv.ErrNotFound) {
			return fmt.Errorf("read dedupe keys again: %w", err)
		}
	}
	slices.SortFunc(all, func(a, b keyAt) int {
		return cmp.Or(bytes.Compare(a.hash[:], b.hash[:]), cmp.Compare(a.hour, b.hour), cmp.Compare(a.part, b.part))
	})
	for i := 1; i < len(all); i++ {
		for former := i - 1; former >= 0 && all[former].hash == all[i].hash; former-- {
			s.keys.outdate(all[former].seq, all[i].seq)
		}
	}
	return nil
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
func (s *Spool) eachKeyAt(r kv.Reader, p keyPlace, fn func(hour uint64, e keyEntry)) error {
	for _, hour := range p.hours {
		v, err := r.Get(dedupeKey(hour, p.part))
		if err == nil {
			return eachKeyIn(v, func(e keyEntry) { fn(hour, e) })
		}
		if !errors.Is(err, kv.ErrNotFound) {
			return err
		}
	}
	return kv.ErrNotFound
}
