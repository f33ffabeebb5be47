package local

import (
	"context"
	"encoding/binary"
	"errors"
	"time"

	"github.com/remora-mq/remora/internal/kv"
)

// evictedKey holds how far marks were deleted for want of bytes: the store's clock,
// in milliseconds. What is older is not known, and since then everything is.
var evictedKey = []byte(prefix + "e")

// eviction deletes marks of the oldest bucket because all together have too many
// bytes.
type eviction struct {
	bucket time.Duration
	next   time.Duration // where the bucket behind it starts
	keys   [][]byte
}

func (e *eviction) size() int {
	return opSize + len(evictedKey) + 8 + len(e.keys)*(48+bucketKeyLen+len(hash{})+maxMark+40)
}

// applyEviction deletes marks. One under a lease that runs moves to the newest
// bucket instead, so that its holder can still record the 200 of its handler.
func (s *Store) applyEviction(w *writing, e *eviction) error {
	for _, k := range e.keys {
		if err := s.keepLease(w, k, e.bucket); err != nil {
			return err
		}
		s.deleteMark(w.Tx, k)
	}
	w.wrote = true
	w.Set(evictedKey, binary.BigEndian.AppendUint64(nil, uint64(e.next.Milliseconds())))
	s.evicted.Store(int64(e.next))
	return nil
}

// keepLease moves the mark under a key of the bucket if it is under lease, and the
// youngest of its hash.
func (s *Store) keepLease(w *writing, key []byte, bucket time.Duration) error {
	b, err := w.Get(key)
	if errors.Is(err, kv.ErrNotFound) {
		return nil
	}
	if err != nil {
		return err
	}
	r, err := decode(s.decrypt(key, b))
	if err != nil || !r.leased(w.now, s.run) {
		return nil //nolint:nilerr // a damaged mark is none
	}
	o := &op{key: hash(key[bucketKeyLen:]), window: s.o.Window}
	o.plain = o.key
	m, err := s.find(w, o)
	if err != nil || m.bucket != bucket {
		return err
	}
	s.put(w, o.key, m)
	return nil
}

// evictOver deletes the oldest buckets while all together have more bytes than the
// limit. A crash in between leaves the rest for the next opening.
func (s *Store) evictOver(ctx context.Context) error {
	for {
		start, next, over := s.buckets.oldestOver(s.o.Limit)
		if !over {
			return nil
		}
		err := s.empty(ctx, start, func(keys [][]byte) (*op, int) {
			e := &eviction{bucket: start, next: next, keys: keys}
			return &op{evict: e}, e.size()
		})
		if err != nil {
			return err
		}
		s.buckets.forget(start)
	}
}
