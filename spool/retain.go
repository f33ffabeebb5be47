package spool

import (
	"encoding/binary"
	"fmt"
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

	over  signal // above RetainBytes
	stuck bool   // it is, and orders keep what could be dropped: looked at again after a while
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
	bars   []uint64 // messages of a block that are barred, when it is dropped
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
	Limit  int64     `json:"limit_bytes"`
	Oldest time.Time `json:"oldest,omitzero"` // about; zero: there is none
}

// Retained returns how much is kept for Resend.
func (s *Spool) Retained() Retained {
	s.mu.Lock()
	defer s.mu.Unlock()
	r := Retained{Bytes: s.retained.bytes, Limit: s.opts.RetainBytes}
	for i, b := range s.retained.buckets {
		if r.Blocks += b.entries; i == 0 {
			r.Oldest = time.Unix(0, int64(b.number))
		}
	}
	return r
}

// retains reports whether confirmed messages are kept at all.
func (o Options) retains() bool { return o.RetainFor > 0 && o.RetainBytes > 0 }

// KeepConfirmed says whether messages are kept that are confirmed from now on.
// They are, as the spool is opened, if its options keep any. What is kept already
// stays for its time, whatever is said.
func (s *Spool) KeepConfirmed(keep bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.unkept = !keep
}

// keeps reports whether a message that is confirmed now is kept. s.mu is held.
func (s *Spool) keeps() bool { return s.opts.retains() && !s.unkept }

// retire is called when all of a block is settled or moved away: it is kept, or
// deleted. confirmed: the last of it was. With messages that are barred, or
// ordered again, maintain deletes it: their own entries go with it.
func (c *commit) retire(topic uint32, firstSeq uint64, count, size int, confirmed bool) {
	r := &c.s.retained
	barred := r.barred.in(firstSeq, count)
	keep := confirmed && c.s.keeps() || c.s.copies.blocks.has(firstSeq)
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
	if e.State != message.StateConfirmed || !c.s.keeps() || e.redriven || e.delayed != nil { // the record of a half message is not kept
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
	if r.bytes > c.s.opts.RetainBytes && !r.stuck {
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
