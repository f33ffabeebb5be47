package spool

import (
	"cmp"
	"maps"
	"slices"

	"github.com/remora-mq/remora/internal/kv"
)

// receiptIndex counts the receipts on disk by bucket, so that the oldest can go
// without a search. A part is numbered by the time at which it was written.
type receiptIndex struct {
	buckets map[uint64]bucket
	total   int
	bytes   int64 // of all entries
	part    uint64

	// What dedupe keys need of buckets that are gone: when the last message of one
	// was settled, while that is less than keyGrace ago. What a former process
	// dropped was settled before opened.
	gone   map[uint64]uint64
	opened uint64
}

type bucket struct {
	count  int
	bytes  int64  // of its entries, keys and all, as they are written
	newest uint64 // part
}

func newReceiptIndex() receiptIndex {
	return receiptIndex{buckets: map[uint64]bucket{}, gone: map[uint64]uint64{}}
}

// settledBy is a time, in nanoseconds since 1970, by which what is settled of a
// bucket was.
func (x *receiptIndex) settledBy(b uint64) uint64 {
	if kept, ok := x.buckets[b]; ok {
		return kept.newest
	}
	if at, ok := x.gone[b]; ok {
		return at
	}
	return x.opened
}

// forget ends what is known of buckets that are gone.
func (x *receiptIndex) forget(before uint64) {
	maps.DeleteFunc(x.gone, func(_, at uint64) bool { return at <= before })
}

func (x *receiptIndex) add(b, part uint64, count, bytes int) {
	old := x.buckets[b]
	x.buckets[b] = bucket{count: old.count + count, bytes: old.bytes + int64(bytes), newest: max(old.newest, part)}
	x.total += count
	x.bytes += int64(bytes)
	x.part = max(x.part, part)
}

func (x *receiptIndex) drop(b uint64) {
	old := x.buckets[b]
	x.total -= old.count
	x.bytes -= old.bytes
	x.gone[b] = old.newest
	delete(x.buckets, b)
}

// byAge are the buckets' numbers, that whose newest receipt is the oldest first.
// Sequences do not tell: one that was delayed or dead for long has just ended.
func (x *receiptIndex) byAge() []uint64 {
	return slices.SortedFunc(maps.Keys(x.buckets), func(a, b uint64) int {
		return cmp.Compare(x.buckets[a].newest, x.buckets[b].newest)
	})
}

// loadReceipts counts the entries; of their values only the lengths, which are in
// the blocks that are read for the keys.
func (s *Spool) loadReceipts() error {
	return s.db.DB.Scan(kv.Scan{Prefix: receiptPrefix, Whole: true}, func(k, v []byte) (bool, error) {
		if !fits(k) {
			s.doubt(k, s.db.decrypt(k, v), errDamaged)
			return true, nil
		}
		at := len(receiptPrefix)
		s.receipts.add(tail64(k, at), tail64(k, at+8), int(k[at+16])<<8|int(k[at+17]), len(k)+len(v))
		return true, nil
	})
}

// partRoom keeps a part well below the largest entry: a receipt with a full
// history is some KiB.
const partRoom = 64 << 10

// usualReceipt is what most receipts do not exceed, in bytes.
const usualReceipt = 256

// sealReceipts encodes the receipts of this commit, bucket by bucket. Of a thousand
// topics hardly two of a commit are in the same bucket, so there is nothing kept for
// each.
func (c *commit) sealReceipts() {
	slices.SortStableFunc(c.receipts, func(a, b *receipt) int { return cmp.Compare(a.bucket(), b.bucket()) })
	for rest := c.receipts; len(rest) > 0; {
		b := rest[0].bucket()
		n := 1
		for n < len(rest) && rest[n].bucket() == b {
			n++
		}
		c.sealBucket(b, rest[:n])
		rest = rest[n:]
	}
}

// sealBucket encodes receipts of one bucket, in one part or more.
func (c *commit) sealBucket(b uint64, all []*receipt) {
	x := &c.s.receipts
	for len(all) > 0 {
		part := c.take(min(len(all)*usualReceipt, partRoom) + usualReceipt)
		count := 0
		for count < len(all) && len(part) < partRoom {
			part = appendReceipt(part, all[count])
			count++
		}
		number := max(x.part+1, uint64(c.at.UnixNano()))
		p := pair{receiptKey(b, number, count), seal(part)}
		c.sets = append(c.sets, p)
		x.add(b, number, count, c.s.db.written(p))
		all = all[count:]
	}
}

// expired is a bucket that retention ends, as it was when that was found.
type expired struct {
	number uint64
	bucket
	keys [][]byte // its entries
}

// expiredReceipts returns the buckets that retention ends: those whose newest
// receipt is too old, and above the number or the bytes as many more, the oldest
// of them first.
func (s *Spool) expiredReceipts() (gone []expired) {
	s.mu.Lock()
	defer s.mu.Unlock()
	oldest := nanos(s.clock.time().Add(-s.opts.ReceiptsKeep))
	if s.clockHeld() {
		oldest = 0
	}
	x := &s.receipts
	total, bytes := x.total, x.bytes
	for _, n := range x.byAge() {
		b := x.buckets[n]
		if total <= s.opts.ReceiptsMax && bytes <= s.opts.ReceiptsLimit && b.newest > oldest {
			break
		}
		total, bytes = total-b.count, bytes-b.bytes
		gone = append(gone, expired{number: n, bucket: b})
	}
	return gone
}

// dropReceipts deletes whole buckets; one that has got a receipt since stays.
type dropReceipts struct{ buckets []expired }

func (d *dropReceipts) size() int {
	size := fixedSize
	for _, b := range d.buckets {
		size += len(b.keys) * deleteSize
	}
	return size
}

func (d *dropReceipts) apply(c *commit) {
	x := &c.s.receipts
	for _, b := range d.buckets {
		if x.buckets[b.number] == b.bucket {
			x.drop(b.number)
			c.deletes = append(c.deletes, b.keys...)
		}
	}
}

func (d *dropReceipts) synced(*Spool) {}

// expireReceipts deletes what retention ends, some buckets a commit.
func (s *Spool) expireReceipts() error {
	op, imported, own := &dropReceipts{}, s.mayHaveImported(), s.ID()
	for _, b := range s.expiredReceipts() {
		err := s.db.Scan(kv.Scan{Prefix: key64(receiptPrefix, b.number), KeysOnly: !imported}, func(k, v []byte) (bool, error) {
			b.keys = append(b.keys, slices.Clone(k))
			if !imported {
				return true, nil
			}
			damaged := receipts(v, func(r receipt) bool {
				if r.ID.Seq32() != uint32(r.seq) || r.ID.Spool() != own { // else the ID leads to it by itself
					b.keys = append(b.keys, importKey(r.ID))
				}
				return true
			})
			if damaged != nil { // it goes all the same, and keeps nothing else
				s.notice(nameOf(k))
			}
			return true, nil
		})
		if err != nil {
			return err
		}
		if op.buckets = append(op.buckets, b); op.size() > s.sizes.op {
			if err := s.commit(s.life, op); err != nil {
				return err
			}
			op = &dropReceipts{}
		}
	}
	if len(op.buckets) == 0 {
		return nil
	}
	return s.commit(s.life, op)
}
