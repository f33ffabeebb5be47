package local

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
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
	// bucketsPerLimit is the same for the bytes: one part in so many goes at once.
	bucketsPerLimit = 8

	countPrefix = prefix + "c"
)

var clockKey = []byte(prefix + "t")

// bucket is a span of time, and the marks that were last changed in it.
type bucket struct {
	start time.Duration
	marks int64
	bytes int64 // of the marks, keys and all, as they are written
	noted bool  // at open that was read, not counted
}

// buckets lists what is on disk, oldest first. The committer adds, the sweeper
// removes.
type buckets struct {
	mu  sync.Mutex
	all []bucket
}

func markKey(bucket time.Duration, h hash) []byte {
	return appendMarkKey(make([]byte, 0, bucketKeyLen+len(h)), bucket, h)
}

func appendMarkKey(b []byte, bucket time.Duration, h hash) []byte {
	b = append(b, bucketPrefix...)
	b = binary.BigEndian.AppendUint64(b, uint64(bucket.Milliseconds()))
	return append(b, h[:]...)
}

func bucketKey(bucket time.Duration) []byte { return markKey(bucket, hash{})[:bucketKeyLen] }

// load finds the buckets on disk, one seek each, and what is in them.
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
		one, err := loadBucket(db, start)
		if err != nil {
			return err
		}
		b.all = append(b.all, one)
		from = bucketKey(start + time.Millisecond)
	}
}

func firstKey(db *kv.DB, from []byte) (first []byte, err error) {
	err = db.Scan(kv.Scan{Prefix: []byte(bucketPrefix), From: from, KeysOnly: true, Whole: true}, func(key, _ []byte) (bool, error) {
		first = append(first, key...)
		return false, nil
	})
	return first, err
}

// loadBucket reads how much is in a bucket. One of a version that did not note
// that, and one whose note is damaged, is counted.
func loadBucket(db *kv.DB, start time.Duration) (b bucket, err error) {
	b.start = start
	v, err := db.Get(countKey(start))
	if b.noted = err == nil && b.decodeCount(v); b.noted {
		return b, nil
	}
	if err != nil && !errors.Is(err, kv.ErrNotFound) {
		return b, err
	}
	b.marks, b.bytes = 0, 0
	err = db.Scan(kv.Scan{Prefix: bucketKey(start), Whole: true}, func(k, v []byte) (bool, error) {
		b.marks++
		b.bytes += int64(len(k) + len(v))
		return true, nil
	})
	return b, err
}

func countKey(start time.Duration) []byte {
	return binary.BigEndian.AppendUint64([]byte(countPrefix), uint64(start.Milliseconds()))
}

// countSize is the most that the entry of a count takes.
const countSize = len(countPrefix) + 8 + 8 + 8 + 4

// encodeCount: marks, bytes, CRC32C of both; big endian.
func (b *bucket) encodeCount() []byte {
	v := binary.BigEndian.AppendUint64(nil, uint64(b.marks))
	v = binary.BigEndian.AppendUint64(v, uint64(b.bytes))
	return binary.BigEndian.AppendUint32(v, crc32.Checksum(v, castagnoli))
}

func (b *bucket) decodeCount(v []byte) (whole bool) {
	if len(v) != 20 || crc32.Checksum(v[:16], castagnoli) != binary.BigEndian.Uint32(v[16:]) {
		return false
	}
	b.marks, b.bytes = int64(binary.BigEndian.Uint64(v)), int64(binary.BigEndian.Uint64(v[8:]))
	return true
}

// current is the bucket to write to, opened when the newest one is full: by time,
// or by its part of the bytes.
func (b *buckets) current(now, window time.Duration, limit int64) (start time.Duration, begun bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	start = now.Truncate(time.Millisecond)
	if n := len(b.all); n > 0 {
		newest := b.all[n-1]
		if !newest.isFull(now, window, limit) {
			return newest.start, false
		}
		start = max(start, newest.start+time.Millisecond)
	}
	b.all = append(b.all, bucket{start: start})
	return start, true
}

func (b *bucket) isFull(now, window time.Duration, limit int64) bool {
	return now >= b.start+window/bucketsPerWindow || b.bytes >= limit/bucketsPerLimit
}

// due reports that the next mark opens a bucket.
func (b *buckets) due(now, window time.Duration, limit int64) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	n := len(b.all)
	return n == 0 || b.all[n-1].isFull(now, window, limit)
}

// add counts what was written to the newest bucket, and returns it.
func (b *buckets) add(marks, bytes int64) bucket {
	b.mu.Lock()
	defer b.mu.Unlock()
	newest := &b.all[len(b.all)-1]
	newest.marks += marks
	newest.bytes += bytes
	return *newest
}

// live are the buckets that may hold a mark younger than the window, newest
// first: a bucket's marks are as old as the start of the next one, or older. They are
// put into live, which is empty.
func (b *buckets) live(live []time.Duration, now, window time.Duration) []time.Duration {
	b.mu.Lock()
	defer b.mu.Unlock()
	for i, one := range slices.Backward(b.all) {
		if i+1 < len(b.all) && b.all[i+1].start+window <= now {
			break
		}
		live = append(live, one.start)
	}
	return live
}

// oldestDead is a bucket that no look-up sees any more.
func (b *buckets) oldestDead(now, window time.Duration) (start time.Duration, dead bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if len(b.all) < 2 || b.all[1].start+window > now {
		return 0, false
	}
	return b.all[0].start, true
}

// oldestOver is the bucket that has to go because all together have more bytes than
// the limit, and where the next one starts. The newest stays: it is written to.
func (b *buckets) oldestOver(limit int64) (start, next time.Duration, over bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if _, bytes := b.sum(); len(b.all) < 2 || bytes <= limit {
		return 0, 0, false
	}
	return b.all[0].start, b.all[1].start, true
}

func (b *buckets) sum() (marks, bytes int64) {
	for _, one := range b.all {
		marks += one.marks
		bytes += one.bytes
	}
	return marks, bytes
}

// forget ends what is known of the oldest bucket.
func (b *buckets) forget(start time.Duration) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.all[0].start == start {
		b.all = b.all[1:]
	}
}

func (b *buckets) oldest() time.Duration {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.all[0].start
}

func (b *buckets) newest() time.Duration {
	b.mu.Lock()
	defer b.mu.Unlock()
	if len(b.all) == 0 {
		return 0
	}
	return b.all[len(b.all)-1].start
}
