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

// sweepLoop deletes dead buckets. Failing costs disk space only, and a fenced
// or closed database ends all commits, so errors wait for the next round.
func (s *Store) sweepLoop(ctx context.Context) {
	tick := time.NewTicker(s.o.SweepEvery)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
			_ = s.sweep(ctx)
		}
	}
}

// sweep deletes every bucket that no look-up sees any more, oldest first. A
// crash in between leaves the rest for the next opening.
func (s *Store) sweep(ctx context.Context) error {
	for {
		bucket, dead := s.buckets.oldestDead(s.now(), s.o.Window)
		if !dead {
			return nil
		}
		if err := s.empty(ctx, bucketKey(bucket)); err != nil {
			return err
		}
		s.buckets.dropOldest()
	}
}

func (s *Store) empty(ctx context.Context, bucket []byte) error {
	from := bucket
	for {
		keys, err := s.firstKeys(bucket, from)
		if err != nil || len(keys) == 0 {
			return err
		}
		// kv wants room for one entry in 48 bytes.
		if err := s.queue.Commit(ctx, &op{drop: keys}, len(keys)*48); err != nil {
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
