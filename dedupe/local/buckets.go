package local

import (
	"encoding/binary"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/remora-mq/remora/internal/kv"
)

const (
	prefix       = "d/"
	bucketPrefix = prefix + "b"
	bucketKeyLen = len(bucketPrefix) + 8 // + hash
	// bucketsPerWindow trades look-ups for how much longer than the window a
	// mark stays: one part in so many.
	bucketsPerWindow = 8
)

var clockKey = []byte(prefix + "t")

// buckets lists what is on disk, oldest first. The committer adds, the sweeper
// removes.
type buckets struct {
	mu     sync.Mutex
	starts []time.Duration
}

func markKey(bucket time.Duration, h hash) []byte {
	k := make([]byte, 0, bucketKeyLen+len(h))
	k = append(k, bucketPrefix...)
	k = binary.BigEndian.AppendUint64(k, uint64(bucket.Milliseconds()))
	return append(k, h[:]...)
}

func bucketKey(bucket time.Duration) []byte { return markKey(bucket, hash{})[:bucketKeyLen] }

// load finds the buckets on disk, one seek each.
func (b *buckets) load(db *kv.DB) error {
	from := []byte(bucketPrefix)
	for {
		key, err := firstKey(db, from)
		if err != nil || key == nil {
			return err
		}
		if len(key) < bucketKeyLen {
			return fmt.Errorf("key %x is not a dedupe mark's", key)
		}
		start := time.Duration(binary.BigEndian.Uint64(key[len(bucketPrefix):])) * time.Millisecond
		b.starts = append(b.starts, start)
		from = bucketKey(start + time.Millisecond)
	}
}

func firstKey(db *kv.DB, from []byte) (first []byte, err error) {
	err = db.Scan(kv.Scan{Prefix: []byte(bucketPrefix), From: from, KeysOnly: true}, func(key, _ []byte) (bool, error) {
		first = append(first, key...)
		return false, nil
	})
	return first, err
}

// current is the bucket to write to, opened when the newest one is full.
func (b *buckets) current(now, window time.Duration) time.Duration {
	b.mu.Lock()
	defer b.mu.Unlock()
	if n := len(b.starts); n > 0 && now < b.starts[n-1]+window/bucketsPerWindow {
		return b.starts[n-1]
	}
	start := now.Truncate(time.Millisecond)
	b.starts = append(b.starts, start)
	return start
}

// live are the buckets that may hold a mark younger than the window, newest
// first: a bucket's marks are as old as the start of the next one, or older.
func (b *buckets) live(now, window time.Duration) []time.Duration {
	b.mu.Lock()
	defer b.mu.Unlock()
	var live []time.Duration
	for i, start := range slices.Backward(b.starts) {
		if i+1 < len(b.starts) && b.starts[i+1]+window <= now {
			break
		}
		live = append(live, start)
	}
	return live
}

// oldestDead is a bucket that no look-up sees any more.
func (b *buckets) oldestDead(now, window time.Duration) (start time.Duration, dead bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if len(b.starts) < 2 || b.starts[1]+window > now {
		return 0, false
	}
	return b.starts[0], true
}

func (b *buckets) dropOldest() {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.starts = b.starts[1:]
}

func (b *buckets) newest() time.Duration {
	b.mu.Lock()
	defer b.mu.Unlock()
	if len(b.starts) == 0 {
		return 0
	}
	return b.starts[len(b.starts)-1]
}
