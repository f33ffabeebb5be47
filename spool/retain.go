package spool

import (
	"encoding/binary"
	"fmt"
	"slices"
	"sort"
	"time"

	"github.com/remora-mq/remora/internal/kv"
	"github.com/remora-mq/remora/message"
)

// What a broker confirmed it may still lose. So a block of which all is settled
// is not deleted but kept where it is, with an entry sv of some bytes that says
// until when; no body is written again. Payloads stored apart have entries of
// their own. Entries lie in buckets of time, and are dropped bucket by bucket:
// the oldest first, when they are older than RetainFor, when all together are
// over RetainBytes, or when the spool needs the room.

// retained knows of each bucket how much it holds, of each block whether it is
// kept, and nothing of messages.
type retained struct {
	buckets []*retainedBucket // the newest last
	bytes   int64
	blocks  seqSet // by first sequence
	barred  seqSet // messages in blocks that are there, which ended otherwise than confirmed: never sent again

	over signal // above RetainBytes
}

// retainedBucket is numbered by the time at which it began, in nanoseconds since 1970.
type retainedBucket struct {
	number  uint64
	entries int
	bytes   int64
}

const (
	// retainedEvery is how long one bucket takes entries.
	retainedEvery = 10 * time.Second
	// retainedParts is the least number of buckets that the budget is divided into.
	retainedParts = 16
)

func newRetained() retained {
	return retained{blocks: newSeqSet(), barred: newSeqSet(), over: newSignal()}
}

// Kinds of what is kept.
const (
	retainedBlock   = 'b'
	retainedPayload = 'p'
)

// retainedEntry is an entry sv: all but count, set and chunks is in its key.
type retainedEntry struct {
	bucket uint64
	seq    uint64 // of the message, or of the block's first
	topic  uint32
	kind   byte
	bytes  uint32
	count  int      // messages of a block
	apart  *payload // where a payload is
}

const retainedKeySize = 2 + 8 + 8 + 4 + 1 + 4

func (r *retainedEntry) key() []byte {
	k := binary.BigEndian.AppendUint64(key64(retainPrefix, r.bucket), r.seq)
	k = append(binary.BigEndian.AppendUint32(k, r.topic), r.kind)
	return binary.BigEndian.AppendUint32(k, r.bytes)
}

func (r *retainedEntry) value() []byte {
	if r.kind == retainedPayload {
		return r.apart.encode()
	}
	return seal(binary.AppendUvarint(nil, uint64(r.count)))
}

// decodeRetained reads the key, and the value unless that is nil.
func decodeRetained(k, v []byte) (r retainedEntry, err error) {
	if len(k) != retainedKeySize {
		return r, fmt.Errorf("read what is retained: %w", errDamaged)
	}
	r = retainedEntry{bucket: tail64(k, 2), seq: tail64(k, 10), topic: tail32(k, 18), kind: k[22], bytes: tail32(k, 23)}
	switch {
	case v == nil:
		return r, nil
	case r.kind == retainedPayload:
		r.apart = &payload{}
		r.apart.set, r.apart.chunks, err = decodeChunkSet(v)
		return r, err
	}
	b, err := unseal(v)
	if err != nil {
		return r, fmt.Errorf("read what is retained: %w", err)
	}
	f := fields{b: b}
	r.count = int(f.uint())
	return r, f.err("read what is retained")
}

// Retained tells what is kept of confirmed messages.
type Retained struct {
	Blocks int       `json:"entries"` // blocks, and payloads stored apart
	Bytes  int64     `json:"bytes"`
	Oldest time.Time `json:"oldest,omitzero"` // about; zero: there is none
}

// Retained returns how much is kept for Resend.
func (s *Spool) Retained() Retained {
	s.mu.Lock()
	defer s.mu.Unlock()
	r := Retained{Bytes: s.retained.bytes}
	for i, b := range s.retained.buckets {
		if r.Blocks += b.entries; i == 0 {
			r.Oldest = time.Unix(0, int64(b.number))
		}
	}
	return r
}

// retains reports whether confirmed messages are kept at all.
func (o Options) retains() bool { return o.RetainFor > 0 && o.RetainBytes > 0 }

// retire is called when all of a block is settled or moved away: it is kept, or
// deleted. confirmed: the last of it was. With messages that are barred, or
// ordered again, maintain deletes it: their own entries go with it.
func (c *commit) retire(topic uint32, firstSeq uint64, count, size int, confirmed bool) {
	r := &c.s.retained
	barred := r.barred.in(firstSeq, count)
	keep := confirmed && c.s.opts.retains() || c.s.copies.blocks.has(firstSeq)
	if len(barred) == 0 && !keep {
		c.deletes = append(c.deletes, blockKey(topic, firstSeq), indexKey(firstSeq))
		return
	}
	if len(barred) == count {
		size = 0 // nothing to send again: it goes with its bucket, and takes no room from others
	}
	c.retain(retainedEntry{seq: firstSeq, topic: topic, kind: retainedBlock, bytes: uint32(size), count: count})
	r.blocks.add(firstSeq)
}

// retainPayload keeps or deletes a payload stored apart whose message has ended.
func (c *commit) retainPayload(e *ending) {
	if e.payload == nil {
		return
	}
	if e.State != message.StateConfirmed || !c.s.opts.retains() {
		c.drop(e.seq, e.payload)
		return
	}
	c.retain(retainedEntry{seq: e.seq, topic: e.lane.id, kind: retainedPayload, bytes: uint32(e.payload.rec.PayloadSize), apart: e.payload})
}

func (c *commit) retain(x retainedEntry) {
	r := &c.s.retained
	b := r.current(c.now, c.s.opts.RetainBytes)
	x.bucket = b.number
	c.sets = append(c.sets, pair{x.key(), x.value()})
	b.entries++
	b.bytes += int64(x.bytes)
	r.bytes += int64(x.bytes)
	if r.bytes > c.s.opts.RetainBytes {
		r.over.raise()
	}
}

// current is the bucket that takes entries: a new one after some time, or when
// the last one is a large part of the budget.
func (r *retained) current(now time.Time, budget int64) *retainedBucket {
	number := nanos(now)
	if n := len(r.buckets); n > 0 {
		last := r.buckets[n-1]
		if last.number+uint64(retainedEvery) > number && last.bytes < budget/retainedParts {
			return last
		}
		number = max(number, last.number+1)
	}
	b := &retainedBucket{number: number}
	r.buckets = append(r.buckets, b)
	return b
}

// bar notes that a message leaves its block otherwise than confirmed, while the
// block stays.
func (c *commit) bar(seq uint64) {
	c.s.retained.barred.add(seq)
	c.sets = append(c.sets, pair{barKey(seq), seal(nil)})
}

func (s *Spool) loadRetained() error {
	r := &s.retained
	*r = newRetained()
	err := s.scan(kv.Scan{Prefix: retainPrefix, KeysOnly: true}, func(k, _ []byte) error {
		x, err := decodeRetained(k, nil)
		if err != nil {
			return err
		}
		n := len(r.buckets)
		if n == 0 || r.buckets[n-1].number != x.bucket {
			r.buckets = append(r.buckets, &retainedBucket{number: x.bucket})
			n++
		}
		b := r.buckets[n-1]
		b.entries++
		b.bytes += int64(x.bytes)
		r.bytes += int64(x.bytes)
		if x.kind == retainedBlock {
			r.blocks.add(x.seq)
		}
		return nil
	})
	if err != nil {
		return err
	}
	return s.scan(kv.Scan{Prefix: barPrefix, KeysOnly: true}, func(k, _ []byte) error {
		r.barred.add(tail64(k, len(barPrefix)))
		return nil
	})
}

// expireRetained drops the buckets that are too old, and the oldest ones over
// the budget.
func (s *Spool) expireRetained() error {
	_, err := s.dropRetained(func(b retainedBucket, _ int64) bool {
		oldest := nanos(s.now().Add(-s.opts.RetainFor))
		return s.retained.bytes > s.opts.RetainBytes || !s.opts.retains() || b.number+uint64(retainedEvery) <= oldest
	})
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
	s.dropping.Lock()
	defer s.dropping.Unlock()
	for after := uint64(0); ; {
		s.mu.Lock()
		i := sort.Search(len(s.retained.buckets), func(i int) bool { return s.retained.buckets[i].number > after })
		if i == len(s.retained.buckets) || !more(*s.retained.buckets[i], dropped) {
			s.mu.Unlock()
			return dropped, nil
		}
		b := s.retained.buckets[i]
		after = b.number
		before := b.bytes
		s.mu.Unlock()
		if err := s.dropBucket(b); err != nil {
			return dropped, fmt.Errorf("drop what was retained: %w", err)
		}
		s.mu.Lock()
		dropped += before - b.bytes
		s.mu.Unlock()
	}
}

// dropBucket deletes the entries of a bucket with what they keep, some a commit.
func (s *Spool) dropBucket(b *retainedBucket) error {
	var all []retainedEntry
	err := s.db.Scan(kv.Scan{Prefix: key64(retainPrefix, b.number)}, func(k, v []byte) (bool, error) {
		x, err := decodeRetained(k, v)
		if err != nil { // a damaged one goes all the same: its key says what it keeps
			x, err = decodeRetained(k, nil)
		}
		if err == nil {
			all = append(all, x)
		}
		return true, nil
	})
	if err != nil {
		return err
	}
	op := &dropRetained{bucket: b}
	var bars [][]byte
	for _, x := range all {
		op.entries = append(op.entries, x)
		if op.size() < s.sizes.op {
			continue
		}
		if err := s.commit(s.life, op); err != nil {
			return err
		}
		bars = append(bars, op.bars...)
		op = &dropRetained{bucket: b}
	}
	if err := s.commit(s.life, op); err != nil {
		return err
	}
	return s.deleteAll(s.life, append(bars, op.bars...))
}

// dropRetained ends the retention of entries of one bucket. What was ordered to
// be sent again stays.
type dropRetained struct {
	bucket  *retainedBucket
	entries []retainedEntry
	bars    [][]byte // of deleted blocks: to be deleted after them
}

func (d *dropRetained) size() int {
	size := fixedSize
	for _, x := range d.entries {
		if size += 3 * deleteSize; x.apart != nil {
			size += int(x.apart.chunks) * deleteSize
		}
	}
	return size
}

func (d *dropRetained) apply(c *commit) {
	r := &c.s.retained
	for _, x := range d.entries {
		switch {
		case x.kind == retainedBlock && !c.s.copies.blocks.has(x.seq):
			c.deletes = append(c.deletes, blockKey(x.topic, x.seq), indexKey(x.seq))
			r.blocks.drop(x.seq)
			for _, seq := range r.barred.in(x.seq, x.count) {
				r.barred.drop(seq)
				d.bars = append(d.bars, barKey(seq))
			}
		case x.kind == retainedPayload && !c.s.copies.due.has(x.seq):
			c.drop(x.seq, x.apart)
		default:
			continue
		}
		c.deletes = append(c.deletes, x.key())
		d.bucket.entries--
		d.bucket.bytes -= int64(x.bytes)
		r.bytes -= int64(x.bytes)
	}
	if d.bucket.entries == 0 {
		r.buckets = slices.DeleteFunc(r.buckets, func(b *retainedBucket) bool { return b == d.bucket })
	}
}

func (d *dropRetained) synced(*Spool) {}
