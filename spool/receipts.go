package spool

import (
	"maps"
	"slices"
	"time"

	"github.com/remora-mq/remora/internal/kv"
)

// receiptIndex counts the receipts on disk by bucket, so that the oldest can go
// without a search. A part is numbered by the time at which it was written.
type receiptIndex struct {
	buckets map[uint64]bucket
	total   int
	part    uint64
}

type bucket struct {
	count  int
	newest uint64 // part
}

func newReceiptIndex() receiptIndex { return receiptIndex{buckets: map[uint64]bucket{}} }

func (x *receiptIndex) add(b, part uint64, count int) {
	old := x.buckets[b]
	x.buckets[b] = bucket{count: old.count + count, newest: max(old.newest, part)}
	x.total += count
	x.part = max(x.part, part)
}

func (x *receiptIndex) drop(b uint64) {
	x.total -= x.buckets[b].count
	delete(x.buckets, b)
}

func (s *Spool) loadReceipts() error {
	return s.db.Scan(kv.Scan{Prefix: receiptPrefix, KeysOnly: true}, func(k, _ []byte) (bool, error) {
		at := len(receiptPrefix)
		s.receipts.add(tail64(k, at), tail64(k, at+8), int(k[at+16])<<8|int(k[at+17]))
		return true, nil
	})
}

// partRoom keeps a part well below the largest entry: a receipt with a full
// history is some KiB.
const partRoom = 64 << 10

// sealReceipts encodes the receipts of this commit, bucket by bucket.
func (c *commit) sealReceipts() {
	x := &c.s.receipts
	for _, b := range slices.Sorted(maps.Keys(c.receipts)) {
		var part []byte
		count := 0
		flush := func() {
			if count == 0 {
				return
			}
			number := max(x.part+1, uint64(c.now.UnixNano()))
			c.sets = append(c.sets, pair{receiptKey(b, number, count), seal(part)})
			x.add(b, number, count)
			part, count = nil, 0
		}
		for _, r := range c.receipts[b] {
			part = appendReceipt(part, r)
			if count++; len(part) >= partRoom {
				flush()
			}
		}
		flush()
	}
}

// expiredReceipts returns the buckets that retention ends: the oldest ones
// above the number, and those whose newest receipt is too old.
func (s *Spool) expiredReceipts() (gone []uint64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	oldest := uint64(max(s.now().Add(-s.opts.ReceiptsKeep).UnixNano(), 0))
	total := s.receipts.total
	for _, b := range slices.Sorted(maps.Keys(s.receipts.buckets)) {
		if total <= s.opts.ReceiptsMax && s.receipts.buckets[b].newest > oldest {
			continue
		}
		total -= s.receipts.buckets[b].count
		gone = append(gone, b)
	}
	return gone
}

// dropReceipts deletes whole buckets, and what only they made useful.
type dropReceipts struct {
	buckets []uint64
	keys    [][]byte // the entries of the buckets, as they were read
}

func (d *dropReceipts) size() int { return fixedSize + len(d.keys)*deleteSize }

func (d *dropReceipts) apply(c *commit) {
	for _, b := range d.buckets {
		c.s.receipts.drop(b)
	}
	for seq := range c.s.ended {
		if _, found := slices.BinarySearch(d.buckets, seq>>receiptBucketShift); found {
			delete(c.s.ended, seq)
			c.deletes = append(c.deletes, endedKey(seq))
		}
	}
	c.deletes = append(c.deletes, d.keys...)
}

func (d *dropReceipts) synced(*Spool) {}

// expireReceipts deletes what retention ends, some buckets a commit.
func (s *Spool) expireReceipts() error {
	const some = 64
	for gone := range slices.Chunk(s.expiredReceipts(), some) {
		op := &dropReceipts{buckets: gone}
		for _, b := range gone {
			err := s.db.Scan(kv.Scan{Prefix: key64(receiptPrefix, b), KeysOnly: true}, func(k, _ []byte) (bool, error) {
				op.keys = append(op.keys, slices.Clone(k))
				return true, nil
			})
			if err != nil {
				return err
			}
		}
		if err := s.commit(s.life, op); err != nil {
			return err
		}
	}
	return nil
}

// settledSince is how long ago the message of seq was settled, as far as its
// receipt still says.
func (s *Spool) settledSince(seq uint64, now time.Time) (time.Duration, bool) {
	r, err := s.readReceipt(seq)
	if err != nil {
		return 0, false
	}
	return now.Sub(r.SettledAt), true
}
