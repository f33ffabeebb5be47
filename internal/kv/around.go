package kv

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"

	"github.com/dgraph-io/badger/v4"
)

// Badger cannot go past a damaged block: its iterator panics, or ends that table, and a
// seek into the block does the same. A seek behind the key with which the next block
// begins does not touch it. So a scan around damage reads some pairs, compares the
// checksums of the blocks that they are from, and then passes them on; behind a block
// that is damaged it begins anew. What Badger gives of such a block is passed on, too: a
// bit that flips in a value harms no other.

// hole is where a block of a table is damaged: what stands from its first key up to the
// first one of the next block cannot be read.
type hole struct {
	err    error
	first  []byte // its first key
	before []byte // the last key of the block before; nil: there is none, or it is not known
	behind []byte // the next key at which a scan can begin; nil: there is none
}

// endsBefore: one of which the end is not known ends behind all others.
func (h *hole) endsBefore(other *hole) bool {
	return h.behind != nil && (other.behind == nil || bytes.Compare(h.behind, other.behind) < 0)
}

// firstAround and mostAround are the bytes of pairs that are read before they are
// passed on: few at first, as a page may want no more.
const (
	firstAround = 16 << 10
	mostAround  = 1 << 20
)

// scanAround is a scan with Whole and Around.
func (r *reader) scanAround(s Scan, fn func(key, value []byte) (bool, error)) error {
	if bytes.Compare(s.From, s.Prefix) < 0 {
		s.From = s.Prefix
	}
	w := wayAround{fn: fn, around: s.Around}
	for most := firstAround; ; most = min(2*most, mostAround) {
		some, damaged, err := r.some(s, most)
		if err != nil {
			return err
		}
		w.tellUnsure(some.unsure)
		if more, err := w.pass(some.pairs, damaged); err != nil || !more {
			return err
		}
		switch {
		case damaged == nil && some.end:
			return nil
		case damaged == nil || some.within:
			s.From = after(some.pairs[len(some.pairs)-1].key)
		case bytes.Compare(damaged.behind, s.From) <= 0:
			return damaged.err
		default:
			w.tell(damaged)
			s.From = damaged.behind
		}
	}
}

// wayAround is what those who scan have been told.
type wayAround struct {
	fn     func(key, value []byte) (bool, error)
	around func(error)
	unsure bool   // of a table that cannot be looked at
	told   []byte // the end of the hole that was told of last
}

// pass passes pairs on, and tells of the hole before the first that is from it, or from
// behind it: that may be where fn ends the scan.
func (w *wayAround) pass(pairs []keyValue, damaged *hole) (more bool, err error) {
	for _, p := range pairs {
		if damaged != nil && bytes.Compare(p.key, damaged.first) >= 0 {
			w.tell(damaged)
		}
		if more, err := w.fn(p.key, p.value); err != nil || !more {
			return false, err
		}
	}
	return true, nil
}

// tell tells once of each hole that a scan can go past.
func (w *wayAround) tell(damaged *hole) {
	if damaged.behind != nil && !bytes.Equal(w.told, damaged.behind) {
		w.around(damaged.err)
		w.told = damaged.behind
	}
}

func (w *wayAround) tellUnsure(err error) {
	if err != nil && !w.unsure {
		w.around(err)
		w.unsure = true
	}
}

// after is the next key.
func after(key []byte) []byte { return append(bytes.Clone(key), 0) }

// portion is some of what a scan passes.
type portion struct {
	pairs []keyValue
	size  int
	end   bool // there is no more
	// within: it ends in a damaged block, which Badger reads on.
	within bool

	unsure error // a table that cannot be looked at may have others
}

type keyValue struct{ key, value []byte }

// some reads the next pairs, about so many bytes of them; damaged: up to there, where not
// all may be among them. It looks for the tables before and after the iterator takes
// them, as scanWhole does.
func (r *reader) some(s Scan, most int) (some portion, damaged *hole, err error) {
	before, err := r.db.inventory.tables(r.db, nil)
	if err != nil {
		return some, nil, err
	}
	it := r.txn.NewIterator(badger.IteratorOptions{Prefix: s.Prefix})
	defer it.Close()
	tables, err := r.db.inventory.tables(r.db, before)
	if err != nil {
		return some, nil, err
	}
	broken, err := r.collect(s, it, &some, most)
	if err != nil {
		return some, nil, err
	}
	w := walked{from: s.From, to: successor(s.Prefix)}
	if n := len(some.pairs); n > 0 && !some.end {
		w.to = some.pairs[n-1].key
	}
	damaged, some.unsure, err = r.db.firstHole(tables, w)
	switch {
	case err != nil:
		return some, nil, err
	case damaged != nil:
		r.distrust(damaged.err)
		n := len(some.pairs)
		some.cut(damaged.behind)
		some.within = broken == nil && !some.end && len(some.pairs) == n
		r.before(damaged, s, &some)
	case broken != nil:
		damaged = &hole{err: broken}
	case some.unsure != nil:
		r.distrust(some.unsure)
	}
	return some, damaged, nil
}

// errDisorder: a key is not behind the one before it. Badger compares no checksums, so a
// bit that flips in a key makes another one of it, which may stand anywhere.
var errDisorder = fmt.Errorf("%w: keys are out of order", ErrDamaged)

// collect reads pairs up to a size, the end, a key that is not behind the one before, or a
// panic of Badger.
func (r *reader) collect(s Scan, it *badger.Iterator, some *portion, most int) (broken, err error) {
	defer r.contain(new(bool), &broken)
	some.end = true
	last := s.From
	err = r.walk(s, it, func(key, value []byte) (bool, error) {
		if order := bytes.Compare(key, last); order < 0 || order == 0 && len(some.pairs) > 0 {
			broken = errDisorder
			return false, nil
		}
		if some.size >= most {
			some.end = false
			return false, nil
		}
		some.pairs = append(some.pairs, keyValue{bytes.Clone(key), bytes.Clone(value)})
		some.size += len(key) + len(value)
		last = some.pairs[len(some.pairs)-1].key
		return true, nil
	})
	return broken, err
}

// before reads the key before a hole, if it was not passed: Badger's iterator goes on
// before it gives a pair away, and panics.
func (r *reader) before(h *hole, s Scan, some *portion) {
	if n := len(some.pairs); bytes.Compare(h.before, s.From) < 0 || !bytes.HasPrefix(h.before, s.Prefix) || n > 0 && bytes.Compare(h.before, some.pairs[n-1].key) <= 0 {
		return
	}
	v, err := r.Get(h.before)
	if s.KeysOnly {
		v = nil
	}
	if err == nil {
		some.pairs = append(some.pairs, keyValue{h.before, v})
	}
}

// cut drops what a scan that begins at a key passes again.
func (p *portion) cut(from []byte) {
	for n := len(p.pairs); n > 0 && from != nil && bytes.Compare(p.pairs[n-1].key, from) >= 0; n-- {
		p.pairs = p.pairs[:n-1]
	}
}

// firstHole finds the first damaged block, by its end, among those in which a scan went
// over some keys. unsure: a table has keys of them and cannot be looked at.
func (db *DB) firstHole(tables []tableFile, w walked) (first *hole, unsure, err error) {
	for _, t := range tables {
		g, err := db.holeIn(t, w)
		switch {
		case err == nil && g == nil:
		case isRefusal(err) && !errors.Is(err, fs.ErrNotExist):
			return nil, nil, fmt.Errorf("read again what was scanned: %w", err)
		case !db.dir.isLive(t, db.opts.Magic) && db.dir.isEmptied(t):
			// a compaction was faster, before the scan began
		case err != nil:
			db.keepDamaged(t.name())
			unsure = damageIn(t, err)
		default:
			db.keepDamaged(t.name())
			if g.err = damageIn(t, g.err); first == nil || g.endsBefore(first) {
				first = g
			}
			if end := first.behind; end != nil && (w.to == nil || bytes.Compare(end, w.to) < 0) {
				w.to = end // what begins behind it does not end before it
			}
		}
	}
	return first, unsure, nil
}
