package local

import (
	"context"
	"errors"
	"slices"
	"time"

	"github.com/remora-mq/remora/dedupe"
	"github.com/remora-mq/remora/internal/backoff"
	"github.com/remora-mq/remora/internal/keyring"
)

const (
	// defaultNoteAfter is how long a mark is in the journal alone, twice that at most and
	// the time of a commit: a power loss may take its attempt off the count. Most are done
	// before.
	defaultNoteAfter = 50 * time.Millisecond
	// noteChunk is how many of them one operation writes.
	noteChunk = 128
)

// unwritten is the bucket of a mark that is in the journal alone: none.
const unwritten = time.Duration(-1)

// beginNew begins a key that has no mark, if memory knows that: by a note in the journal,
// without a commit. What else begins does so in one.
func (s *Store) beginNew(ctx context.Context, key, plain hash, f dedupe.Fingerprint, lease time.Duration, token uint64) (m dedupe.Mark, begun bool) {
	if s.journal == nil || ctx.Err() != nil || s.calls.Begin() != nil {
		return m, false
	}
	defer s.calls.Done()
	select {
	case <-s.failed:
		return m, false
	default:
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	now := s.now()
	if !s.keyed || !s.isNew(key, plain, now) {
		return m, false
	}
	one := found{bucket: unwritten}
	one.begin(f, now, lease, s.run, token)
	one.date(now, true)
	var room [maxMark]byte
	if one.slot = s.journal.write(key, s.encryptNoted(key, one.append(room[:0]))); one.slot == 0 {
		return m, false
	}
	s.held[key] = one
	if s.journal.inUse() == 1 {
		select {
		case s.begun <- struct{}{}:
		default:
		}
	}
	// Its lease runs since before the file was written, which may have hung.
	return dedupe.Mark{Verdict: dedupe.Begun, Attempt: 1, Until: time.Now().Add(one.until - s.now()), Token: token}, true
}

// journalKey is what an encrypted mark of the journal is bound to.
func journalKey(h hash) []byte { return append([]byte(prefix+"j"), h[:]...) }

func (s *Store) encryptNoted(key hash, mark []byte) []byte {
	if s.o.Keys == nil {
		return mark
	}
	return s.encrypt(journalKey(key), mark)
}

// isNew reports that the key has no mark, of whatever window, as far as can be told without
// a read; not of one that opens a bucket, by which others end. mu is held.
func (s *Store) isNew(key, plain hash, now time.Duration) bool {
	if _, held := s.held[key]; held || s.buckets.due(now, s.o.Window, s.o.Limit) {
		return false
	}
	s.live = s.buckets.live(s.live[:0], now, s.o.Window)
	for _, bucket := range s.live {
		if !s.rulesOut(bucket, key, plain) {
			return false
		}
	}
	return true
}

// noteLoop writes marks into the database that are in progress for longer than a moment.
// What it cannot write, a fenced database, ends all.
func (s *Store) noteLoop(ctx context.Context) {
	for {
		select {
		case <-s.begun:
		case <-ctx.Done():
			return
		}
		for more := true; more; {
			if backoff.Sleep(ctx, s.o.noteAfter) != nil {
				return
			}
			var old []hash
			old, more = s.old()
			s.note(ctx, old)
		}
	}
}

// old are the keys of marks that were in the journal at the last call already; more: it
// has some.
func (s *Store) old() (all []hash, more bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for i := range s.journal.slots {
		one := &s.journal.slots[i]
		if one.used && one.seen {
			all = append(all, one.key)
		}
		one.seen = one.used
	}
	return all, s.journal.inUse() > 0
}

func (s *Store) note(ctx context.Context, all []hash) {
	for len(all) > 0 {
		n := min(noteChunk, len(all))
		_ = s.queue.Commit(ctx, &op{notes: all[:n]}, opSize+n*fillSize)
		all = all[n:]
	}
}

// applyNotes writes those marks that nothing has written since.
func (s *Store) applyNotes(w *writing, all []hash) {
	for _, h := range all {
		if m := s.held[h]; m.slot != 0 {
			s.put(w, h, m)
		}
	}
}

// openJournal has marks begun in the journal from now on. Where that fails they are
// begun in commits; which attempts a process that was killed had begun is then not known.
// The error is a *keyring.MissingError.
func (s *Store) openJournal(ctx context.Context) error {
	if s.o.Journal == "" {
		return nil
	}
	err := s.tryJournal(ctx)
	if _, missing := errors.AsType[*keyring.MissingError](err); missing {
		return err
	}
	s.unjournaled = err
	return nil
}

func (s *Store) tryJournal(ctx context.Context) error {
	j, slots, err := openJournal(s.o.Journal)
	if err != nil {
		return err
	}
	left, err := s.decodeNoted(slots)
	for _, one := range left {
		s.base = max(s.base, one.at)
	}
	if err == nil {
		err = s.restore(ctx, left)
	}
	if err == nil {
		err = j.empty()
	}
	if err != nil {
		return errors.Join(err, j.file.Close())
	}
	s.journal, s.keyed = j, !s.secretChanged
	return nil
}

// Unjournaled is why keys are begun in commits although there was to be a journal;
// nil: there is one, or none was asked for. It stays so until the next opening.
func (s *Store) Unjournaled() error { return s.unjournaled }

// begunMark is the mark of a slot. It has the time at which it was begun.
type begunMark struct {
	key hash
	record
}

// decodeNoted refuses a ring that lacks the key of a slot: that is no damage.
func (s *Store) decodeNoted(slots []noted) (left []begunMark, err error) {
	for _, one := range slots {
		if id, is := keyOf(one.mark); is && !slices.Contains(s.o.Keys.IDs(), id) {
			return nil, &keyring.MissingError{ID: id}
		}
		r, err := decode(s.decrypt(journalKey(one.key), one.mark))
		if err != nil {
			s.damaged.Add(1)
			continue
		}
		left = append(left, begunMark{one.key, r})
	}
	return left, nil
}

// restore writes the marks that were left in the journal into the database.
func (s *Store) restore(ctx context.Context, left []begunMark) error {
	for len(left) > 0 {
		n := min(noteChunk, len(left))
		if err := s.queue.Commit(ctx, &op{restores: left[:n]}, opSize+n*fillSize); err != nil {
			return err
		}
		left = left[n:]
	}
	return nil
}

// applyRestores restores the marks of keys that have none. One that has was written after
// its slot: the slot was free, or a program that knows no journal has gone on since. A slot
// may also be of a mark that is gone, as its window has passed, or for want of bytes.
func (s *Store) applyRestores(w *writing, left []begunMark) error {
	for _, one := range left {
		if one.over(w.now, s.o.Window) || one.at < time.Duration(s.evicted.Load()) {
			continue
		}
		m, err := s.find(w, &op{key: one.key, plain: one.key, window: s.o.Window})
		if err != nil {
			return err
		}
		if m.size == 0 {
			s.put(w, one.key, found{record: one.record})
		}
	}
	return nil
}
