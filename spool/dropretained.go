package spool

import (
	"fmt"
	"slices"
	"sort"

	"github.com/remora-mq/remora/internal/kv"
	"github.com/remora-mq/remora/message"
)

// expireRetained drops the buckets that are too old, and the oldest ones over
// the budget.
func (s *Spool) expireRetained() error {
	_, err := s.dropRetained(func(b retainedBucket, _ int64) bool {
		oldest := nanos(s.now().Add(-s.opts.RetainFor))
		return s.retained.bytes > s.opts.RetainBytes || !s.opts.retains() || b.number+uint64(retainedEvery) <= oldest && !s.clockHeld()
	})
	s.mu.Lock()
	defer s.mu.Unlock()
	s.retained.stuck = s.retained.bytes > s.opts.RetainBytes
	return err
}

// GiveUpRetained drops the oldest of what is kept of confirmed messages, for at
// least so many bytes if there are as many, and returns how many it dropped.
// What was ordered to be sent again stays until that is done.
func (s *Spool) GiveUpRetained(bytes int64) (dropped int64, err error) {
	return s.dropRetained(func(_ retainedBucket, dropped int64) bool { return dropped < bytes })
}

// dropRetained drops buckets from the oldest on, while more says so; more is
// called with s.mu held.
func (s *Spool) dropRetained(more func(b retainedBucket, dropped int64) bool) (dropped int64, err error) {
	s.dropping.Lock() // a bucket that another call drops is gone from memory before it is gone
	defer s.dropping.Unlock()
	for after := uint64(0); ; {
		s.mu.Lock()
		i := sort.Search(len(s.retained.buckets), func(i int) bool { return s.retained.buckets[i].number > after })
		if i == len(s.retained.buckets) || !more(*s.retained.buckets[i], dropped) {
			s.mu.Unlock()
			return dropped, nil
		}
		b := s.retained.buckets[i]
		s.mu.Unlock()
		after = b.number
		n, err := s.dropBucket(b)
		if dropped += n; err != nil {
			return dropped, fmt.Errorf("drop what was retained: %w", err)
		}
	}
}

// dropBucket deletes the entries of a bucket with what they keep, some a commit.
func (s *Spool) dropBucket(b *retainedBucket) (dropped int64, err error) {
	all, err := s.droppable(b)
	if err != nil {
		return 0, err
	}
	for len(all) > 0 {
		op := &dropRetained{bucket: b}
		for len(all) > 0 && (len(op.entries) == 0 || op.size() < s.sizes.op) {
			op.entries, all = append(op.entries, all[0]), all[1:]
		}
		if err := s.commit(s.life, op); err != nil {
			return dropped, err
		}
		dropped += op.dropped
	}
	return dropped, nil
}

// droppable are the entries of a bucket that no order keeps.
func (s *Spool) droppable(b *retainedBucket) (all []retainedEntry, err error) {
	err = s.db.Scan(kv.Scan{Prefix: key64(retainPrefix, b.number)}, func(k, v []byte) (bool, error) {
		x, err := decodeRetained(k, v)
		if err != nil { // a damaged one goes all the same: its key says what it keeps
			x, err = decodeRetained(k, nil)
		}
		if err == nil {
			all = append(all, x)
		}
		return true, nil
	})
	for i := range all {
		s.complete(&all[i])
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	all = slices.DeleteFunc(all, func(x retainedEntry) bool { return s.copies.keep(&x) })
	for i := range all {
		if x := &all[i]; x.kind == retainedBlock {
			x.bars = s.retained.barred.in(x.seq, x.count)
		}
	}
	return all, err
}

// complete finds what a damaged entry does not tell.
func (s *Spool) complete(x *retainedEntry) {
	switch {
	case x.kind == retainedBlock && x.count == 0:
		if i, err := s.indexOf(x.seq); err == nil {
			x.count = i.count
		}
	case x.kind == retainedPayload && x.apart == nil:
		x.apart, _ = s.findPayload(message.Record{Message: message.Message{Seq: x.seq}})
	}
}

// keep reports whether something of x is ordered to be sent again.
func (c *copies) keep(x *retainedEntry) bool {
	if x.kind == retainedBlock {
		return c.blocks.has(x.seq)
	}
	return c.due.has(x.seq)
}

// dropRetained ends the retention of entries of one bucket. The marks of a block
// go with it: nothing is barred any more when a block is kept.
type dropRetained struct {
	bucket  *retainedBucket
	entries []retainedEntry
	dropped int64 // bytes
}

func (d *dropRetained) size() int {
	size := fixedSize
	for _, x := range d.entries {
		if size += (3 + len(x.bars)) * deleteSize; x.apart != nil {
			size += int(x.apart.chunks) * deleteSize
		}
	}
	return size
}

func (d *dropRetained) apply(c *commit) {
	r := &c.s.retained
	for i := range d.entries {
		x := &d.entries[i]
		switch x.kind {
		case retainedBlock:
			c.deletes = append(c.deletes, blockKey(x.topic, x.seq), indexKey(x.seq))
			r.blocks.drop(x.seq)
			for _, seq := range x.bars {
				r.barred.drop(seq)
				c.deletes = append(c.deletes, barKey(seq))
			}
		case retainedPayload:
			c.drop(x.seq, x.apart)
		}
		c.deletes = append(c.deletes, x.key())
		d.bucket.entries--
		d.bucket.bytes -= int64(x.bytes)
		r.bytes -= int64(x.bytes)
		d.dropped += int64(x.bytes)
	}
	if d.bucket.entries == 0 {
		r.buckets = slices.DeleteFunc(r.buckets, func(b *retainedBucket) bool { return b == d.bucket })
	}
}

func (d *dropRetained) synced(*Spool) {}
