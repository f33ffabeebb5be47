package spool

import (
	"context"
	"fmt"
	"slices"

	"github.com/remora-mq/remora/message"
)

// endCopy takes a copy out of memory: it was confirmed again, or cannot be. The
// block's order ends with the last of them, and the next block may be read at
// once. s.mu is held.
func (s *Spool) endCopy(e *entry, confirmed bool) (op *endCopies) {
	x := &e.lane.copies
	x.window.remove(e)
	e.lane.window.free(e.msg.OrderingKey) // what was put aside behind it waits there
	delete(s.copies.sent, e.msg.Seq)
	s.windows -= e.cost()
	s.feed()
	b := x.block
	if confirmed {
		b.sent++
	}
	e.lane.ready.raise()
	s.left.raise() // of a topic that is paused nothing else is waited for
	if b.left--; b.left > 0 {
		return nil
	}
	return e.lane.endBlock()
}

// endBlock ends the block of which nothing is left in the window. s.mu is held.
func (l *lane) endBlock() *endCopies {
	x := &l.copies
	op := &endCopies{lane: l, block: x.block}
	x.block = nil
	x.ending += len(op.block.seqs)
	return op
}

// endCopies ends the order of a block. What was ordered of it while it was being
// sent becomes another.
type endCopies struct {
	lane  *lane
	block *copyBlock
	rest  bool
}

func (o *endCopies) size() int {
	size := fixedSize + o.block.count/8 + 2*deleteSize + valueOverhead
	if len(o.block.unread) > 0 {
		size += maxNotResent*notResentBytes + deleteSize
	}
	return size
}

func (o *endCopies) apply(c *commit) {
	s, x := c.s, &o.lane.copies
	o.lane.resent += uint64(o.block.sent)
	for _, seq := range o.block.seqs {
		s.copies.due.drop(seq)
		x.left--
		x.ending--
	}
	key := orderKey(o.lane.id, o.block.firstSeq)
	if rest := s.copies.due.in(o.block.firstSeq, o.block.count); len(rest) > 0 {
		o.rest = true
		c.sets = append(c.sets, pair{key, encodeOrder(o.block.count, o.block.firstSeq, rest)})
	} else {
		s.copies.blocks.drop(o.block.firstSeq)
		c.deletes = append(c.deletes, key)
	}
	if len(o.block.unread) > 0 {
		c.reportUnread(o.lane, o.block.unread)
	}
	c.touch(o.lane)
}

func (o *endCopies) synced(s *Spool) {
	if o.rest {
		o.lane.copies.orders = append(o.lane.copies.orders, copyOrder{o.block.firstSeq, o.block.count})
	}
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

// giveUpCopy ends a copy whose payload cannot be read.
func (s *Spool) giveUpCopy(l *Lease, cause error) {
	s.opts.Logger.Error("a message that was to be sent again cannot be read any more", "id", l.ID, "topic", l.Topic, "error", cause)
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.owns(l) { // it lapsed: whoever leases it next finds the same
		return
	}
	b := l.entry.lane.copies.block
	b.unread = append(b.unread, l.Seq)
	if op := s.endCopy(l.entry, false); op != nil {
		s.post(op)
	}
}

// A report names at most maxNotResent runs of what could not be sent again, each
// in at most so many bytes.
const (
	maxNotResent   = 64
	notResentBytes = message.MaxTopic + 96
)

// reportUnread names what was to be sent again and cannot be, in a report that
// an operator has to acknowledge: an order that was answered cannot be kept.
func (c *commit) reportUnread(l *lane, seqs []uint64) {
	all := &c.s.damage.all
	runs := runsOf(l.topic, seqs)
	n := len(*all)
	if n == 0 || !(*all)[n-1].takes(len(runs)) {
		*all = append(*all, &Damage{At: c.now, Found: []string{"confirmed messages that were to be sent again cannot be read any more"}, Quarantine: []string{}, Sequences: []Lost{}})
		n++
	}
	d := (*all)[n-1]
	d.NotResent = append(slices.Clip(d.NotResent), runs...)
	c.sets = append(c.sets, pair{damageKey(n), d.encode()})
}

// takes reports whether d is of nothing but messages that could not be sent again,
// has room for more of them, and nobody has acknowledged it.
func (d *Damage) takes(runs int) bool {
	return d.Acknowledged == nil && len(d.NotResent) > 0 && d.Lost == 0 && d.Database == "" && len(d.NotResent)+runs <= maxNotResent
}

// runsOf joins sequences to runs; where these would be too many, the last one
// covers all that is left.
func runsOf(topic string, seqs []uint64) (all []Lost) {
	seqs = slices.Sorted(slices.Values(seqs))
	for _, seq := range seqs {
		if n := len(all); n > 0 && (all[n-1].Last+1 == seq || n == maxNotResent) {
			all[n-1].Last = seq
			continue
		}
		all = append(all, Lost{seq, seq, topic})
	}
	return all
}

func (s *Spool) cannotSendAgain(l *lane, seqs []uint64, cause error) {
	s.opts.Logger.Error("messages that were to be sent again cannot be read any more", "topic", l.topic, "sequences", fmt.Sprint(runsOf("", seqs)), "error", cause)
}
