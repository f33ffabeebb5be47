package local

import (
	"encoding/binary"
	"errors"
	"time"

	"github.com/remora-mq/remora/dedupe"
	"github.com/remora-mq/remora/internal/kv"
)

// hash names a key on disk.
type hash [16]byte

// op is one operation on its way through a commit. Exactly one of change, drop, evict,
// fill, lesson, notes and restores is set. The fields below are its result, for whoever
// queued it to read after the commit succeeded.
type op struct {
	key    hash
	plain  hash // the key's, before there was a secret
	of     dedupe.Key
	window time.Duration
	begins *dedupe.Fingerprint // what Begin asks for
	change func(r *record, now time.Duration, op *op) (write bool)
	drop   [][]byte // keys to delete
	evict  *eviction
	fill   []known
	lesson *lesson

	notes    []hash // marks that are in the journal alone
	restores []begunMark

	apart []dedupe.Fingerprint // done, and to have marks of their own

	mark  dedupe.Mark
	until time.Duration // of mark, on the store's clock
	err   error
}

// apartSize is what it may set besides for one that finishes.
const apartSize = bucketKeyLen + len(hash{}) + maxMark + 48 // kv wants room for one entry in 48 bytes

// opSize is what Write may set for one operation: the clock, the secret and the
// count of a bucket included.
const opSize = bucketKeyLen + len(hash{}) + maxMark + 2*16 + maxSecret + countSize

// markSize is what most plain marks take, with their key.
const markSize = bucketKeyLen + len(hash{}) + recordHead + 16 + 4

// writing is what a commit does to the newest bucket.
type writing struct {
	*kv.Tx

	now          time.Duration
	bucket       time.Duration
	chosen       bool // bucket is
	wrote        bool
	marks, bytes int64
}

// Write applies ops in order; see kv.Participant. It runs on the committer.
func (s *Store) Write(tx *kv.Tx, ops []*op) error {
	w := &writing{Tx: tx, now: s.now()}
	for _, o := range ops {
		if err := s.applyAlone(w, o); err != nil {
			return err
		}
	}
	if w.chosen {
		newest := s.buckets.add(w.marks, w.bytes)
		tx.Set(countKey(newest.start), newest.encodeCount())
	}
	if w.wrote && s.secretChanged {
		tx.Set(secretKey, s.secret.encode(s.o.Keys))
		s.secretChanged = false
	}
	if w.wrote {
		tx.Set(clockKey, binary.BigEndian.AppendUint64(nil, uint64(w.now.Milliseconds())))
	}
	return nil
}

// Synced has the sweeper look when the marks have more bytes than they may, and frees
// the slots of what was written.
func (s *Store) Synced([]*op) {
	s.lookOver()
	s.mu.Lock()
	defer s.mu.Unlock()
	s.keyed = !s.secretChanged
	for _, number := range s.written {
		s.journal.leave(number)
	}
	s.written = s.written[:0]
}

func (s *Store) lookOver() {
	if _, _, over := s.buckets.oldestOver(s.o.Limit); over {
		select {
		case s.over <- struct{}{}:
		default:
		}
	}
}

// applyAlone keeps those from beginning meanwhile who do so without a commit: an
// operation finds a mark and writes it in one.
func (s *Store) applyAlone(w *writing, o *op) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.apply(w, o)
}

func (s *Store) apply(w *writing, o *op) error {
	for _, k := range o.drop {
		s.deleteMark(w.Tx, k)
		w.wrote = true
	}
	if o.evict != nil {
		return s.applyEviction(w, o.evict)
	}
	if o.lesson != nil {
		s.filters.learn(o.lesson)
	}
	s.applyFill(w, o.fill)
	s.applyNotes(w, o.notes)
	if o.restores != nil {
		return s.applyRestores(w, o.restores)
	}
	if o.change == nil {
		return nil
	}
	found, err := s.find(w, o)
	if err != nil {
		return err
	}
	if o.begins != nil {
		apart, err := s.doneApart(w, o, &found.record)
		if err != nil {
			return err
		}
		if apart {
			o.mark = dedupe.Mark{Verdict: dedupe.Repeat}
			return nil
		}
	}
	if !o.change(&found.record, w.now, o) {
		return nil
	}
	found.date(w.now, o.window < s.o.Window)
	s.put(w, o.key, found)
	return s.putApart(w, o)
}

// doneApart reports whether what begins is done by a mark of its own.
func (s *Store) doneApart(w *writing, o *op, r *record) (bool, error) {
	if !r.full() || r.isDone(*o.begins) {
		return false, nil
	}
	m, err := s.find(w, s.apart(o, *o.begins))
	return m.isDone(*o.begins), err
}

// apart is an operation on the mark of one content of o's key.
func (s *Store) apart(o *op, f dedupe.Fingerprint) *op {
	one := s.opOf(o.of.With(f))
	one.window = o.window
	return one
}

// putApart writes the marks of contents for which that of their key has no room. The
// window of each begins anew: when it was done is not known any more.
func (s *Store) putApart(w *writing, o *op) error {
	for _, f := range o.apart {
		one := s.apart(o, f)
		m, err := s.find(w, one)
		if err != nil {
			return err
		}
		m.record = doneMark(f)
		m.date(w.now, o.window < s.o.Window)
		s.put(w, one.key, m)
	}
	return nil
}

// put writes a mark into the newest bucket, over the one that was found there.
func (s *Store) put(w *writing, h hash, m found) {
	s.choose(w)
	w.wrote = true
	key := appendMarkKey(make([]byte, 0, markSize), w.bucket, h)
	n := len(key)
	value := s.encrypt(key, m.append(key)[n:]) // one allocation, where it is plain
	key = key[:n:n]
	w.bytes += int64(len(value) - m.size)
	if m.size == 0 || m.bucket != w.bucket {
		w.marks++
		w.bytes += int64(m.size + len(key))
		s.filters.wrote(w.bucket, h)
	}
	w.Set(key, value)
	if m.slot != 0 {
		s.written = append(s.written, m.slot)
	}
	m.bucket, m.size, m.slot = w.bucket, len(value), 0
	s.held.wrote(h, m)
}

// choose finds the bucket to write to, once in a commit.
func (s *Store) choose(w *writing) {
	if w.chosen {
		return
	}
	var begun bool
	if w.bucket, begun = s.buckets.current(w.now, s.o.Window, s.o.Limit); begun {
		s.filters.begin(w.bucket, s.buckets.oldest())
	}
	w.chosen = true
}

// found is a mark, and where it lies.
type found struct {
	record

	bucket time.Duration
	size   int // of the value; 0: there is none under the key that is written
	slot   int // of the journal, where it is in there alone; 0: it is not
}

// find returns the youngest mark of the key within the window, or an empty one.
func (s *Store) find(w *writing, o *op) (m found, err error) {
	live := s.buckets.live(s.live[:0], w.now, o.window)
	s.live = live
	if m, held := s.held[o.key]; held && (m.slot != 0 || len(live) > 0 && m.bucket >= live[len(live)-1]) {
		return m.within(w.now, o.window), nil
	}
	for _, bucket := range live {
		if s.rulesOut(bucket, o.key, o.plain) {
			continue
		}
		b, size, err := s.read(w.Tx, bucket, o)
		if errors.Is(err, kv.ErrNotFound) {
			continue
		}
		if err != nil {
			return m, err
		}
		m.bucket, m.size = bucket, size
		if m.record, err = decode(b); err != nil {
			s.damaged.Add(1)
			m.record = record{} // damage is counted, and never makes a repeat
		}
		return m.within(w.now, o.window), nil
	}
	return m, nil
}

// rulesOut reports that a bucket has no mark of the key, so that none is read.
func (s *Store) rulesOut(bucket time.Duration, key, plain hash) bool {
	return s.filters.rulesOut(bucket, key) && (!s.mayBePlain(bucket) || s.filters.rulesOut(bucket, plain))
}

// mayBePlain reports whether a bucket has marks under the hashes from before the secret.
func (s *Store) mayBePlain(bucket time.Duration) bool {
	return s.secret != nil && bucket <= s.secret.began
}

// within is the mark, or an empty one where its window has passed.
func (m found) within(now, window time.Duration) found {
	if m.over(now, window) {
		m.record = record{}
	}
	return m
}

// read returns the mark of a bucket, and its size there.
func (s *Store) read(tx *kv.Tx, bucket time.Duration, o *op) (mark []byte, size int, err error) {
	key := markKey(bucket, o.key)
	b, err := tx.Get(key)
	if errors.Is(err, kv.ErrNotFound) && s.mayBePlain(bucket) {
		key = markKey(bucket, o.plain)
		b, err = tx.Get(key)
		return s.decrypt(key, b), 0, err // a slot of the journal from before the secret is encrypted when it is restored
	}
	return s.decrypt(key, b), len(b), err
}
