package spool

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"

	"github.com/remora-mq/remora/internal/kv"
)

// A key that is not in memory is read from the entries that its tag leads to. Who
// brings it does, before anything is decided by it, so that nobody waits for the disk
// with the spool's lock. But only the committer knows that nothing changes any more until
// it has looked: what was not read by then, or not found, it reads itself. So a repeat is
// never taken for new because a read has failed.

// keyPlace is an entry of keys: the hour that it is of is one of some.
type keyPlace struct {
	part  uint64
	hours []uint64
}

// keyReads is what was read of one key. nil: nothing.
type keyReads struct {
	parts []uint64 // that were read: an entry does not change
	refs  []keyRef // what stood there of the key
	err   error    // of the committer: it could not find out
}

func (r *keyReads) has(part uint64) bool { return r != nil && slices.Contains(r.parts, part) }

// counting is what counts of it. s.mu is held, or the committer calls.
func (r *keyReads) counting(x *keyIndex) (ref keyRef, known bool) {
	if r == nil {
		return keyRef{}, false
	}
	for _, ref := range r.refs {
		if x.has(ref.seq) {
			return ref, true
		}
	}
	return keyRef{}, false
}

func (r *keyReads) failed() error {
	if r == nil {
		return nil
	}
	return r.err
}

// soughtKey is a key of which something has to be read.
type soughtKey struct {
	hash   keyHash
	reads  **keyReads // of the message, or what else has the key
	places []keyPlace
}

// sought adds to all a key of which something has to be read, if that is so. s.mu is
// held, or the committer calls.
func (x *keyIndex) sought(all []soughtKey, h keyHash, reads **keyReads) []soughtKey {
	if h == (keyHash{}) {
		return all
	}
	if places := x.unread(h, *reads); places != nil {
		all = append(all, soughtKey{h, reads, places})
	}
	return all
}

// keyed is an operation that brings keys.
type keyed interface {
	// sought adds to all those of which something has to be read. s.mu is held, or the
	// committer calls.
	sought(x *keyIndex, all []soughtKey) []soughtKey
	// unsure is why it cannot be told of one of them who has it.
	unsure() error
}

// lockKnowing locks s.mu, when what has to be read of the keys of op was.
func (s *Spool) lockKnowing(ctx context.Context, op keyed) error {
	s.mu.Lock()
	keys := op.sought(&s.keys, nil)
	if keys == nil {
		return nil
	}
	s.mu.Unlock()
	err := s.readAhead(ctx, keys)
	s.mu.Lock()
	return err
}

// readAhead reads for an operation that is not queued yet. What it does not find is
// left to the committer.
func (s *Spool) readAhead(ctx context.Context, keys []soughtKey) error {
	if len(keys) == 0 {
		return nil
	}
	found, err := patiently(ctx, s, func() ([]*keyReads, error) {
		found := make([]*keyReads, len(keys))
		for i := range found {
			found[i] = &keyReads{}
		}
		// In a view: to a Get a commit would wait, for as long as the disk takes.
		_ = s.db.Snapshot(func(r kv.Reader) error {
			for _, e := range entriesOf(keys, found) {
				_ = s.readEntry(r, e)
			}
			return nil
		})
		return found, nil
	})
	if err != nil {
		return fmt.Errorf("read idempotency keys: %w", err)
	}
	for i, r := range found {
		*keys[i].reads = r
	}
	return nil
}

func (op *appendMessages) sought(x *keyIndex, all []soughtKey) []soughtKey {
	for _, n := range op.added {
		all = x.sought(all, n.key, &n.reads)
	}
	return all
}

func (op *appendMessages) unsure() error {
	for _, n := range op.added {
		if err := n.reads.failed(); err != nil {
			return err
		}
	}
	return nil
}

// lookForKeys reads what the operations of a commit have not read themselves.
func (w *writer) lookForKeys(ops []operation) {
	w.sought = w.sought[:0]
	for _, op := range ops {
		if op, ok := op.(keyed); ok {
			w.sought = op.sought(&w.s.keys, w.sought)
		}
	}
	if len(w.sought) > 0 {
		w.s.readSurely(w.sought)
	}
	clear(w.sought)
}

// readSurely reads the rest of what has to be read of keys, or keeps why it cannot be.
func (s *Spool) readSurely(keys []soughtKey) {
	reads := make([]*keyReads, len(keys))
	for i, k := range keys {
		if *k.reads == nil {
			*k.reads = &keyReads{}
		}
		reads[i] = *k.reads
	}
	for _, e := range entriesOf(keys, reads) {
		if err := s.readEntry(s.db, e); err != nil {
			err = fmt.Errorf("%w: read an idempotency key: %w", ErrUnknown, s.unreadable(e.keyPlace, err))
			e.each(func(r *keyReads) { r.err = cmp.Or(r.err, err) })
		}
	}
}

// soughtEntry is an entry that is read for keys, and where to note what it has of them.
type soughtEntry struct {
	keyPlace
	keys map[keyHash][]*keyReads
}

// entriesOf are the entries that have to be read for keys, each once, in order: a client
// that repeats a batch asks for a thousand keys of one entry. reads are those of the keys.
func entriesOf(keys []soughtKey, reads []*keyReads) []*soughtEntry {
	byPart := map[uint64]*soughtEntry{}
	for i, k := range keys {
		for _, p := range k.places {
			e := byPart[p.part]
			if e == nil {
				e = &soughtEntry{p, map[keyHash][]*keyReads{}}
				byPart[p.part] = e
			}
			e.keys[k.hash] = append(e.keys[k.hash], reads[i])
		}
	}
	return slices.SortedFunc(maps.Values(byPart), func(a, b *soughtEntry) int { return cmp.Compare(a.part, b.part) })
}

func (e *soughtEntry) each(fn func(*keyReads)) {
	for _, all := range e.keys {
		for _, r := range all {
			fn(r)
		}
	}
}

// readEntry notes what an entry has of the keys.
func (s *Spool) readEntry(r kv.Reader, e *soughtEntry) error {
	err := s.eachKeyAt(r, e.keyPlace, func(_ uint64, k keyEntry) {
		for _, reads := range e.keys[k.hash] {
			reads.refs = append(reads.refs, k.ref)
		}
	})
	if err == nil {
		e.each(func(r *keyReads) { r.parts = append(r.parts, e.part) })
	}
	return err
}

// unreadable is why an entry of keys cannot be read that should be there. If a block is
// damaged the database is fenced, and the next start salvages (mustSee).
func (s *Spool) unreadable(p keyPlace, err error) error {
	if s.db.Err() != nil || errors.Is(err, ErrClosed) {
		return err
	}
	for _, hour := range p.hours {
		where := dedupeKey(hour, p.part)
		s.notice(nameOf(where))
		whole := s.db.Scan(kv.Scan{Prefix: where, KeysOnly: true, Whole: true}, func(_, _ []byte) (bool, error) { return false, nil })
		err = s.mustSee(cmp.Or(whole, err))
	}
	if s.db.Err() == nil {
		err = fmt.Errorf("%w: %w", ErrKeyDamaged, err)
	}
	return err
}
