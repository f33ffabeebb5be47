package notes

import (
	"maps"

	"github.com/remora-mq/remora/internal/keyring"
	"github.com/remora-mq/remora/internal/kv"
)

// op is one change on its way through a commit: of a place, or of entries. more and
// err are its result.
type op struct {
	place
	settle []int64 // offsets that are settled
	low    int64   // all before it are
	seen   int64   // with low and reset
	reset  bool    // nothing is known of the place

	sets  []pair
	drops [][]byte

	more bool
	err  error
}

// pair is an entry before it is encrypted.
type pair struct{ key, plain []byte }

// size bounds what the op writes.
func (o *op) size() int {
	const value = 1 + 8*blockBits/64 + 4 + keyring.Overhead + kv.EntryOverhead
	n := 0
	for _, p := range o.sets {
		n += len(p.key) + len(p.plain) + value
	}
	for _, key := range o.drops {
		n += len(key) + kv.EntryOverhead
	}
	key := len(blockKey(o.place, 0))
	return n + (len(o.settle)+1)*(key+value) + passMost*(key+kv.EntryOverhead)
}

// Write applies ops in order; see kv.Participant.
func (s *Store) Write(tx *kv.Tx, ops []*op) error {
	s.at = map[place]*progress{}
	for _, o := range ops {
		for _, p := range o.sets {
			s.set(tx, p)
		}
		for _, key := range o.drops {
			tx.Delete(key)
		}
		if o.place != (place{}) {
			s.change(tx, o)
		}
	}
	return nil
}

func (s *Store) set(tx *kv.Tx, p pair) { tx.Set(p.key, s.seal(p)) }

// change applies an op to its place, as earlier ops of the commit have left it.
func (s *Store) change(tx *kv.Tx, o *op) {
	p := s.at[o.place]
	if p == nil {
		p = s.progress(o.place).clone()
	}
	if o.err = p.fits(o.settle); o.err != nil {
		return
	}
	fresh := map[int64]*block{}
	for _, offset := range o.settle {
		if !p.has(offset) {
			p.settle(offset, fresh)
		}
		p.seen = max(p.seen, offset+1)
	}
	var passed []int64
	switch {
	case o.reset:
		*p, passed, o.more = p.emptied(o.seen)
	case o.low > 0:
		passed, o.more = p.raise(o.low)
		p.seen = max(p.seen, o.seen)
	default:
		passed, o.more = p.advance()
	}
	for n, b := range fresh {
		if p.blocks[n] == b {
			s.set(tx, pair{blockKey(o.place, n), b.encode()})
		}
	}
	for _, n := range passed {
		tx.Delete(blockKey(o.place, n))
	}
	s.set(tx, pair{placeKey(o.place), p.encode()})
	s.at[o.place] = p
}

// fits refuses what is too far away.
func (p *progress) fits(offsets []int64) error {
	for _, offset := range offsets {
		if offset/blockBits-p.low/blockBits >= blocksMost {
			return errTooFar
		}
	}
	return nil
}

// emptied is a place of which nothing is known, once no block is left.
func (p *progress) emptied(seen int64) (left progress, passed []int64, more bool) {
	for n := range p.blocks {
		if len(passed) == passMost {
			return *p, passed, true
		}
		passed = append(passed, n)
		delete(p.blocks, n)
	}
	return progress{seen: seen}, passed, false
}

// Synced publishes what the ops have changed.
func (s *Store) Synced([]*op) {
	s.mu.Lock()
	defer s.mu.Unlock()
	maps.Copy(s.places, s.at)
	s.at = nil
}
