package spool

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"slices"

	"github.com/remora-mq/remora/message"
)

// copies are confirmed messages that are to be sent again, under the same IDs
// and numbers. An order (entry sg) names those of one block; it is there until
// the broker has confirmed all of them, and while it is the block stays. A crash
// repeats what was sent of a block. A topic has one block of them in memory at a
// time, in a window of its own: they go before what is pending there, whose order
// does not change, and one at a time with it of each ordering key.
type copies struct {
	blocks seqSet // that have an order, by first sequence
	due    seqSet // messages that were ordered and are not confirmed again
	sent   map[uint64]*entry
}

func newCopies() copies {
	return copies{blocks: newSeqSet(), due: newSeqSet(), sent: map[uint64]*entry{}}
}

// laneCopies are those of one topic.
type laneCopies struct {
	window window
	orders []uint64 // blocks, by first sequence, in the order in which they are sent
	left   int      // messages
	block  *copyBlock
	busy   bool // a block is being read
}

// copyBlock is the block whose copies are in memory.
type copyBlock struct {
	firstSeq uint64
	count    int
	seqs     []uint64 // that were ordered when it was read
	left     int      // in the window
	sent     int      // confirmed
}

// encodeOrder writes which of a block's messages are ordered, by their position.
func encodeOrder(count int, firstSeq uint64, seqs []uint64) []byte {
	b := binary.AppendUvarint(make([]byte, 0, count/8+16), uint64(count))
	bits := make([]byte, (count+7)/8)
	for _, seq := range seqs {
		bits[(seq-firstSeq)/8] |= 1 << ((seq - firstSeq) % 8)
	}
	return seal(append(b, bits...))
}

func decodeOrder(firstSeq uint64, v []byte) (count int, seqs []uint64, err error) {
	b, err := unseal(v)
	if err != nil {
		return 0, nil, fmt.Errorf("read order to send again: %w", err)
	}
	f := fields{b: b}
	count = int(min(f.uint(), 1<<16))
	bits := f.raw((count + 7) / 8)
	if f.failed {
		return 0, nil, fmt.Errorf("read order to send again: %w", errDamaged)
	}
	for i := range count {
		if bits[i/8]&(1<<(i%8)) != 0 {
			seqs = append(seqs, firstSeq+uint64(i))
		}
	}
	return count, seqs, nil
}

func (s *Spool) loadCopies() error {
	s.copies = newCopies()
	return s.scanAll(orderPrefix, func(k, v []byte) error {
		l := s.byID[tail32(k, len(orderPrefix))]
		firstSeq := tail64(k, len(orderPrefix)+4)
		_, seqs, err := decodeOrder(firstSeq, v)
		if err != nil || l == nil {
			return fmt.Errorf("order of the block at %d: %w", firstSeq, errors.Join(err, errDamaged))
		}
		s.copies.blocks.add(firstSeq)
		for _, seq := range seqs {
			s.copies.due.add(seq)
		}
		l.copies.orders = append(l.copies.orders, firstSeq)
		l.copies.left += len(seqs)
		s.announce(l)
		return nil
	})
}

// orderCopies makes messages of one block to be sent again. The block may have
// gone meanwhile, or some of them have been ordered before.
type orderCopies struct {
	lane     *lane
	firstSeq uint64
	count    int
	seqs     []uint64
	ids      []message.ID
	sizes    map[uint64]int // of the messages, in bytes

	gone    bool // the block is not where it was
	fresh   bool // the block had no order
	added   int
	already int
	bytes   int64 // of those added
}

// size is an upper bound: the order has a bit for each message of its block.
func (o *orderCopies) size() int { return o.count/8 + 2*deleteSize + valueOverhead }

// choose returns those that are still there and not ordered. A block stays while
// it is kept, while something of it is held, and until its lane comes by: then it
// is kept, if anything is.
func (o *orderCopies) choose(s *Spool) (fresh []uint64) {
	b := o.lane.blockOf(o.firstSeq)
	there := b != nil && b.live > 0 || s.retained.blocks.has(o.firstSeq) || s.holdsAny(o.firstSeq, o.count)
	waits := s.opts.retains() && o.firstSeq > o.lane.window.loadedTo
	if o.gone = !there && !waits; o.gone {
		return nil
	}
	for _, seq := range o.seqs {
		if s.copies.due.has(seq) {
			o.already++
			continue
		}
		fresh = append(fresh, seq)
		o.added++
		o.bytes += int64(o.sizes[seq])
	}
	return fresh
}

// holdsAny reports whether any of a block is held there. s.mu is held.
func (s *Spool) holdsAny(firstSeq uint64, count int) bool {
	for seq := firstSeq; seq < firstSeq+uint64(count); seq++ {
		if !s.settled.has(seq) && s.dead[seq] == nil {
			return true
		}
	}
	return false
}

func (o *orderCopies) apply(c *commit) {
	s := c.s
	fresh := o.choose(s)
	if len(fresh) == 0 {
		return
	}
	for _, seq := range fresh {
		s.copies.due.add(seq)
	}
	o.fresh = !s.copies.blocks.has(o.firstSeq)
	s.copies.blocks.add(o.firstSeq)
	o.lane.copies.left += o.added
	key := orderKey(o.lane.id, o.firstSeq)
	c.deletes = slices.DeleteFunc(c.deletes, func(k []byte) bool { return bytes.Equal(k, key) }) // the order before may end in this very commit
	c.sets = append(c.sets, pair{key, encodeOrder(o.count, o.firstSeq, s.copies.due.in(o.firstSeq, o.count))})
}

func (o *orderCopies) synced(s *Spool) {
	if o.fresh && o.added > 0 {
		o.lane.copies.orders = append(o.lane.copies.orders, o.firstSeq)
		s.announce(o.lane)
		o.lane.ready.raise()
	}
}

// startCopies reports whether a block of copies is to be read, and nobody does it.
func (l *lane) startCopies() bool {
	x := &l.copies
	if x.busy || x.block != nil || len(x.orders) == 0 {
		return false
	}
	x.busy = true
	return true
}

// enterCopies brings the next ordered block into memory. One that cannot be read
// keeps its order, for the next start, and holds up nothing else.
func (s *Spool) enterCopies(l *lane) error {
	s.mu.Lock()
	firstSeq := l.copies.orders[0]
	s.mu.Unlock()
	count, b, err := s.readCopies(l, firstSeq)
	s.mu.Lock()
	defer s.mu.Unlock()
	x := &l.copies
	x.busy = false
	x.orders = x.orders[1:]
	l.ready.raise()
	if err != nil {
		if s.closed() || s.db.Err() != nil {
			return err
		}
		s.opts.Logger.Error("messages that were to be sent again cannot be read; the next start tries again", "topic", l.topic, "first_sequence", firstSeq, "error", err)
		return nil
	}
	x.block = &copyBlock{firstSeq: firstSeq, count: count, seqs: s.copies.due.in(firstSeq, count)}
	for _, r := range b.records {
		p := b.payloads[r.Seq]
		if !s.copies.due.has(r.Seq) || r.PayloadSize > 0 && p == nil {
			continue
		}
		x.block.left++
		e := &entry{msg: &r.Message, payload: p, lane: l, size: heldSize(*r), state: message.StatePending, copy: true}
		if p != nil {
			e.msg = &p.rec.Message
		}
		s.copies.sent[r.Seq] = e
		x.window.add(e)
		s.windows += e.cost()
	}
	if x.block.left == 0 { // of none is there anything that can be sent
		s.opts.Logger.Error("messages that were to be sent again cannot be read any more", "topic", l.topic, "first_sequence", firstSeq, "messages", len(x.block.seqs))
		s.post(&endCopies{lane: l, block: x.block})
	}
	return nil
}

func (s *Spool) readCopies(l *lane, firstSeq uint64) (count int, b diskBlock, err error) {
	v, err := s.db.Get(orderKey(l.id, firstSeq))
	if err != nil {
		return 0, b, fmt.Errorf("read order: %w", err)
	}
	if count, _, err = decodeOrder(firstSeq, v); err != nil {
		return 0, b, err
	}
	if v, err = s.db.Get(blockKey(l.id, firstSeq)); err != nil {
		return 0, b, fmt.Errorf("read block: %w", err)
	}
	b = s.decodeBlock(l, firstSeq, v)
	for _, r := range b.records {
		if r.PayloadSize == 0 {
			continue
		}
		if p, err := s.findPayload(*r); err == nil {
			b.payloads[r.Seq] = p
		}
	}
	return count, b, nil
}

// pickCopies chooses copies to lease. They were attempted before.
func (l *lane) pickCopies(opts LeaseOptions) []*entry {
	picked, _ := l.copies.window.pick(opts, math.MaxUint64)
	return picked
}

// endCopy takes a copy out of memory: it was confirmed again, or refused. The
// block's order ends with the last of them. s.mu is held.
func (s *Spool) endCopy(e *entry, confirmed bool) (op *endCopies) {
	x := &e.lane.copies
	x.window.remove(e)
	delete(s.copies.sent, e.msg.Seq)
	s.windows -= e.cost()
	b := x.block
	if confirmed {
		b.sent++
	}
	e.lane.ready.raise()
	if b.left--; b.left > 0 {
		return nil
	}
	return &endCopies{lane: e.lane, block: b}
}

// endCopies ends the order of a block. What was ordered of it while it was being
// sent becomes another.
type endCopies struct {
	lane  *lane
	block *copyBlock
	rest  bool
}

func (o *endCopies) size() int { return fixedSize + o.block.count/8 + 2*deleteSize + valueOverhead }

func (o *endCopies) apply(c *commit) {
	s, x := c.s, &o.lane.copies
	o.lane.resent += uint64(o.block.sent)
	for _, seq := range o.block.seqs {
		s.copies.due.drop(seq)
		x.left--
	}
	key := orderKey(o.lane.id, o.block.firstSeq)
	if rest := s.copies.due.in(o.block.firstSeq, o.block.count); len(rest) > 0 {
		o.rest = true
		c.sets = append(c.sets, pair{key, encodeOrder(o.block.count, o.block.firstSeq, rest)})
	} else {
		s.copies.blocks.drop(o.block.firstSeq)
		c.deletes = append(c.deletes, key)
	}
	c.touch(o.lane)
}

func (o *endCopies) synced(s *Spool) {
	x := &o.lane.copies
	if o.rest {
		x.orders = append(x.orders, o.block.firstSeq)
	}
	x.block = nil
	o.lane.ready.raise()
	s.left.raise()
}

// refuseCopy ends a copy that the broker refuses for what it is: its message was
// confirmed before, and is no dead letter.
func (s *Spool) refuseCopy(ctx context.Context, l *Lease, cause string) error {
	s.mu.Lock()
	if !s.owns(l) { // confirmed meanwhile
		s.mu.Unlock()
		return nil
	}
	op := s.endCopy(l.entry, false)
	s.mu.Unlock()
	s.opts.Logger.Warn("the broker refused a message that was to be sent again", "id", l.ID, "topic", l.Topic, "cause", clip(cause))
	if op == nil {
		return nil
	}
	return s.commit(ctx, op)
}
