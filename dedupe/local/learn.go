package local

import (
	"bytes"
	"context"
	"slices"
	"time"

	"github.com/remora-mq/remora/internal/backoff"
	"github.com/remora-mq/remora/internal/kv"
)

// learnChunk is how many keys are read at a time, in some milliseconds.
const learnChunk = 4096

// lesson are keys of a bucket of an earlier opening.
type lesson struct {
	bucket time.Duration
	keys   []hash
	last   bool
}

// learn reads the keys of the buckets that are there when the store is opened, the
// newest first, and gives each bucket its filter. It takes a few seconds for ten
// million keys, half of the time at rest. Until then, and where it does not find as many
// as were noted, a mark is looked for on the disk.
func (s *Store) learn(ctx context.Context, all []bucket) {
	defer close(s.learned)
	for _, one := range slices.Backward(all) {
		if one.noted && s.learnBucket(ctx, one.start) != nil {
			return
		}
	}
}

func (s *Store) learnBucket(ctx context.Context, start time.Duration) error {
	prefix := bucketKey(start)
	from := prefix
	for {
		began := time.Now()
		l := &lesson{bucket: start}
		next := s.readLesson(l, prefix, from)
		if err := s.queue.Commit(ctx, &op{lesson: l}, 0); err != nil { // it writes nothing
			return err
		}
		if l.last {
			return nil
		}
		from = next
		if err := backoff.Sleep(ctx, time.Since(began)); err != nil {
			return err
		}
	}
}

// readLesson reads keys, and returns where the next ones begin. At a damaged block it
// ends, as if there were none: what ends early is missed in the count.
func (s *Store) readLesson(l *lesson, prefix, from []byte) (next []byte) {
	err := s.db.Scan(kv.Scan{Prefix: prefix, From: from, KeysOnly: true, Whole: true}, func(key, _ []byte) (bool, error) {
		if len(l.keys) == learnChunk {
			next = bytes.Clone(key)
			return false, nil
		}
		if _, h, ok := parseMarkKey(key); ok {
			l.keys = append(l.keys, h)
		}
		return true, nil
	})
	l.last = err != nil || next == nil
	return next
}
