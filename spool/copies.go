package spool

import (
	"bytes"
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
// repeats what was sent of a block, and what was confirmed of others since the
// last commit. A topic has one block of them in memory at a
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
	orders []copyOrder // in the order in which they are sent
	left   int         // messages
	ending int         // of these, in blocks whose end no commit has applied yet
	block  *copyBlock
	busy   bool // a block is being read
}

// copyOrder is a block of which some is ordered.
type copyOrder struct {
	firstSeq uint64
	count    int
}

// copyBlock is the block whose copies are in memory.
type copyBlock struct {
	firstSeq uint64
	count    int
	seqs     []uint64 // that were ordered when it was read
	left     int      // in the window
	sent     int      // confirmed
	unread   []uint64 // of seqs, what could not be read
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
		count, seqs, err := decodeOrder(firstSeq, v)
		if err != nil || l == nil {
			return fmt.Errorf("order of the block at %d: %w", firstSeq, errors.Join(err, errDamaged))
		}
		s.copies.blocks.add(firstSeq)
		for _, seq := range seqs {
			s.copies.due.add(seq)
		}
		l.copies.orders = append(l.copies.orders, copyOrder{firstSeq, count})
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
		if !s.settled.has(seq) && !s.apart(seq) {
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
		o.lane.copies.orders = append(o.lane.copies.orders, copyOrder{o.firstSeq, o.count})
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

// enterCopies brings the next ordered block into memory. What cannot be read of
// it is named, and ends: it holds up nothing else.
func (s *Spool) enterCopies(l *lane) error {
	s.mu.Lock()
	x := &l.copies
	order := x.orders[0]
	s.mu.Unlock()
	b, err := s.readCopies(l, order.firstSeq)
	s.mu.Lock()
	defer s.mu.Unlock()
	x.busy = false
	l.ready.raise()
	if err != nil && (s.closed() || s.db.Err() != nil) {
		return err
	}
	x.orders = x.orders[1:]
	x.block = &copyBlock{firstSeq: order.firstSeq, count: order.count, seqs: s.copies.due.in(order.firstSeq, order.count)}
	for _, r := range b.records {
		if p := b.payloads[r.Seq]; s.copies.due.has(r.Seq) && (r.PayloadSize == 0 || p != nil) {
			s.enterCopy(l, r, p)
		}
	}
	for _, seq := range x.block.seqs {
		if s.copies.sent[seq] == nil {
			x.block.unread = append(x.block.unread, seq)
		}
	}
	if len(x.block.unread) > 0 {
		s.cannotSendAgain(l, x.block.unread, err)
	}
	if x.block.left == 0 {
		s.post(l.endBlock())
	}
	return nil
}

func (s *Spool) enterCopy(l *lane, r *message.Record, p *payload) {
	e := &entry{msg: &r.Message, payload: p, lane: l, size: heldSize(*r), state: message.StatePending, copy: true}
	if p != nil {
		e.msg = &p.rec.Message
	}
	l.copies.block.left++
	s.copies.sent[r.Seq] = e
	l.copies.window.add(e)
	s.windows += e.cost()
}

func (s *Spool) readCopies(l *lane, firstSeq uint64) (b diskBlock, err error) {
	v, err := s.db.Get(blockKey(l.id, firstSeq))
	if err != nil {
		return b, fmt.Errorf("read block: %w", err)
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
	return b, nil
}

// pickCopies chooses copies to lease. They were attempted before.
func (l *lane) pickCopies(opts LeaseOptions) []*entry {
	picked, _ := l.copies.window.pick(opts, math.MaxUint64, 0)
	return picked
}
