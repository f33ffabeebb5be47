package spool

import (
	"maps"
	"math/bits"
	"slices"

	"github.com/remora-mq/remora/internal/kv"
)

// expireKeys drops the oldest hours: those out of the window, and, over the
// budget, others, of which some may go. Of a backlog none may, so it is not read, and
// its keys are not of the budget: else a topic that is stuck would end everybody's
// deduplication.
func (s *Spool) expireKeys() error {
	s.mu.Lock()
	s.receipts.forget(nanos(s.certain(0).Add(-keyGrace)))
	oldest := hourOf(s.clock.time().Add(-s.opts.DedupeWindow))
	if s.clockHeld() {
		oldest = 0
	}
	maybe := s.keys.bytes() > s.opts.DedupeLimit
	hours := slices.Sorted(maps.Keys(s.keys.hours))
	s.mu.Unlock()
	var mayGo keysByBucket
	if maybe {
		mayGo = s.keysThatMayGo()
	}
	over := (int64(mayGo.settled)*keyCost - s.opts.DedupeLimit + keyCost - 1) / keyCost
	worth := int(s.opts.DedupeLimit / keyCost / 16) // an hour is read for as many, at least
	for _, h := range hours {
		old := h < oldest
		if !old && (over <= 0 || mayGo.total < max(worth, 1) || !s.hasSome(h, mayGo)) {
			continue
		}
		gone, err := s.expireHour(h, old)
		if err != nil {
			return err
		}
		over -= int64(gone)
	}
	return nil
}

// keysByBucket are the buckets of sequences that have keys which may go.
type keysByBucket struct {
	buckets []uint64 // in order
	total   int      // keys
	settled int      // with those that may not go yet
}

// keysThatMayGo finds those that may go to make room. It holds the lock for a
// million sequences at a time.
func (s *Spool) keysThatMayGo() (all keysByBucket) {
	const atOnce = 256
	s.mu.Lock()
	ranges := slices.Sorted(maps.Keys(s.keys.with))
	s.mu.Unlock()
	for some := range slices.Chunk(ranges, atOnce) {
		s.mu.Lock()
		for _, r := range some {
			s.addThatMayGo(&all, r)
		}
		s.mu.Unlock()
	}
	return all
}

// addThatMayGo adds those of the range of a bitmap. s.mu is held.
func (s *Spool) addThatMayGo(all *keysByBucket, r uint64) {
	const words = 1 << receiptBucketShift / 64
	with, ended := s.keys.with[r], s.settled.ranges[r]
	switch {
	case r < s.settled.low || elsewhere(r<<bitmapShift):
		ended = fullBitmap
	case ended == nil:
		return
	}
	if with == nil {
		return
	}
	for at := 0; at < len(with.words); at += words {
		n := 0
		for i := range words {
			n += bits.OnesCount64(with.words[at+i] & ended.words[at+i])
		}
		all.settled += n
		if first := r<<bitmapShift + uint64(at)*64; n > 0 && s.graceIsOver(first) {
			all.buckets, all.total = append(all.buckets, first>>receiptBucketShift), all.total+n
		}
	}
}

// hasSome reports whether an hour may have one of those keys.
func (s *Spool) hasSome(hour uint64, keys keysByBucket) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	h := s.keys.hours[hour]
	if h == nil {
		return false
	}
	at, _ := slices.BinarySearch(keys.buckets, h.lowest>>receiptBucketShift)
	return at < len(keys.buckets) && keys.buckets[at] <= h.highest>>receiptBucketShift
}

// expireHour drops the entries of an hour, one a commit. Keys that have to stay
// move into the hour of now; an entry of which all have to stay, and that is not
// too old, is left alone. It returns how many went.
func (s *Spool) expireHour(hour uint64, old bool) (gone int, err error) {
	for p, err := range s.db.pairs(kv.Scan{Prefix: key64(keyPrefix, hour)}) {
		if err != nil {
			return gone, err
		}
		n, err := s.expireEntry(p, hour, old)
		if err != nil {
			return gone, err
		}
		gone += n
	}
	return gone, nil
}

func (s *Spool) expireEntry(p pair, hour uint64, old bool) (gone int, err error) {
	keys, err := decodeKeys(p.value)
	if err != nil { // the next opening drops it
		s.notice(nameOf(p.key))
		return 0, nil //nolint:nilerr // see there
	}
	op := &dropKeys{hour: hour, entry: p.key}
	op.gone, op.kept = s.sortKeys(keys, old)
	if len(op.gone) == 0 && !old {
		return 0, nil
	}
	return len(op.gone), s.commit(s.life, op)
}

// sortKeys tells which keys may go: never while the message is held, nor soon
// after it was settled. What was settled elsewhere has no such time: to make room
// it goes no sooner than that after it came, and out of the window at once.
func (s *Spool) sortKeys(keys []keyEntry, old bool) (gone, kept []keyEntry) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, k := range keys {
		seq := k.ref.seq
		if (elsewhere(seq) || s.settled.has(seq)) && (s.graceIsOver(seq) || old && elsewhere(seq)) {
			gone = append(gone, k)
		} else {
			kept = append(kept, k)
		}
	}
	return gone, kept
}

// graceIsOver reports whether all that was settled in the bucket of a sequence, or came
// at its place, was so for long enough. s.mu is held.
func (s *Spool) graceIsOver(seq uint64) bool {
	if elsewhere(seq) {
		came := cameAt(seq)
		return !came.After(s.certain(millis(came)).Add(-keyGrace))
	}
	by := s.receipts.settledBy(seq >> receiptBucketShift)
	return by <= nanos(s.certain(by/1e6).Add(-keyGrace))
}

// dropKeys deletes one entry of dedupe keys; those kept move.
type dropKeys struct {
	hour       uint64
	entry      []byte
	gone, kept []keyEntry
}

func (d *dropKeys) size() int { return fixedSize + len(d.gone)*deleteSize + len(d.kept)*(keyBytes+1) }

func (d *dropKeys) apply(c *commit) {
	s := c.s
	part := tail64(d.entry, len(keyPrefix)+8)
	for _, k := range d.gone {
		if !s.keys.drop(k.hash, d.hour, part) {
			continue // it was, before
		}
		s.keys.leave(k.ref.seq)
		if s.ended[k.ref.seq] {
			delete(s.ended, k.ref.seq)
			c.deletes = append(c.deletes, endedKey(k.ref.seq))
		}
	}
	if len(d.gone) > 0 {
		s.head.keysGone = max(s.head.keysGone, d.hour)
	}
	for _, k := range d.kept {
		if s.keys.drop(k.hash, d.hour, part) && s.keys.has(k.ref.seq) {
			c.keep(k, hourOf(c.at))
		}
	}
	c.deletes = append(c.deletes, d.entry)
}

func (d *dropKeys) synced(*Spool) {}
