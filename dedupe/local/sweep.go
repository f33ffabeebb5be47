package local

import (
	"bytes"
	"context"
	"time"

	"github.com/remora-mq/remora/internal/kv"
)

// sweepChunk is how many marks one operation deletes: little enough to ride in
// the commits of others.
const sweepChunk = 128

// sweepLoop deletes dead buckets, and those for which there are no bytes. Failing
// costs disk space only, and a fenced or closed database ends all commits, so
// errors wait for the next round.
func (s *Store) sweepLoop(ctx context.Context) {
	tick := time.NewTicker(s.o.SweepEvery)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		case <-s.over:
		}
		_ = s.sweep(ctx)
	}
}

// sweep deletes every bucket that no look-up sees any more, oldest first, and then
// those above the limit. A crash in between leaves the rest for the next opening.
func (s *Store) sweep(ctx context.Context) error {
	for {
		start, dead := s.buckets.oldestDead(s.now(), s.o.Window)
		if !dead {
			return s.evictOver(ctx)
		}
		err := s.empty(ctx, start, func(keys [][]byte) (*op, int) {
			return &op{drop: keys}, len(keys) * 48 // kv wants room for one entry in 48 bytes
		})
		if err != nil {
			return err
		}
		s.buckets.forget(start)
	}
}

// empty deletes a bucket by operations of some keys each. Its count goes first: what
// a crash leaves is counted anew.
func (s *Store) empty(ctx context.Context, start time.Duration, deletes func(keys [][]byte) (*op, int)) error {
	if err := s.queue.Commit(ctx, &op{drop: [][]byte{countKey(start)}}, opSize); err != nil {
		return err
	}
	bucket := bucketKey(start)
	from := bucket
	for {
		keys, err := s.firstKeys(bucket, from)
		if err != nil || len(keys) == 0 {
			return err
		}
		o, size := deletes(keys)
		if err := s.queue.Commit(ctx, o, size); err != nil {
			return err
		}
		from = append(bytes.Clone(keys[len(keys)-1]), 0) // past the tombstones
	}
}

func (s *Store) firstKeys(bucket, from []byte) (keys [][]byte, err error) {
	err = s.db.Scan(kv.Scan{Prefix: bucket, From: from, KeysOnly: true}, func(key, _ []byte) (bool, error) {
		keys = append(keys, bytes.Clone(key))
		return len(keys) < sweepChunk, nil
	})
	return keys, err
}
