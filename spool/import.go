package spool

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"

	"github.com/remora-mq/remora/internal/kv"
	"github.com/remora-mq/remora/message"
)

// Imported tells what came of an import.
type Imported struct {
	Messages int `json:"imported"`
	Known    int `json:"known"`   // held already, or their receipt is kept: nothing was done
	Refused  int `json:"refused"` // lines that are not whole
}

// Import takes in the messages of an export under the IDs that they have. What
// it counts as imported is on stable storage when it returns, whether with an
// error or not; doing it again takes in what is missing. A pending message is
// pending, or on hold, a dead letter a dead letter. A cancel of what was pending
// is refused from then on, with all that was accepted before on its topic: an
// attempt may have been made where the export comes from.
//
// From here on new messages are given another spool ID, so that none is given an
// ID that an import may bring. A line that is not whole ends the import with a
// *LineError; with partial it is counted and passed over. Of the other errors
// ErrFull says to make room and go on.
//
// One import runs at a time; others wait.
func (s *Spool) Import(ctx context.Context, r io.Reader, partial bool) (done Imported, err error) {
	select {
	case s.importing <- struct{}{}:
		defer func() { <-s.importing }()
	case <-ctx.Done():
		return done, ctx.Err()
	}
	if err := s.NewIdentity(ctx); err != nil {
		return done, fmt.Errorf("import: %w", err)
	}
	b := &importBatch{s: s, done: &done, ids: map[message.ID]bool{}}
	err = walkExport(r, func(_ int, i Item) error { return b.take(ctx, i) }, func(e *LineError) error {
		if !partial {
			return e
		}
		if done.Refused++; e.Line == 0 {
			return nil
		}
		s.opts.Logger.Warn("a line of an import is passed over", "line", e.Line, "error", e.Err.Error())
		return nil
	})
	if flushed := b.flush(ctx); err == nil || errors.Is(err, ErrExport) {
		err = errors.Join(err, flushed) // else it is the same, or says why nothing goes on
	}
	if err != nil {
		return done, fmt.Errorf("import: %w", err)
	}
	return done, nil
}

// NewIdentity gives new messages another spool ID. When it returns nil that is on
// stable storage, and everything that was confirmed before is recorded.
func (s *Spool) NewIdentity(ctx context.Context) error {
	if err := s.commit(ctx, &newIdentity{}); err != nil {
		return fmt.Errorf("take a new spool ID: %w", err)
	}
	return nil
}

// newIdentity gives new messages another spool ID.
type newIdentity struct{}

func (*newIdentity) size() int       { return fixedSize }
func (*newIdentity) apply(c *commit) { c.s.head.newIdentity() }
func (*newIdentity) synced(*Spool)   {}

// importBatch gathers what goes into one commit.
type importBatch struct {
	s     *Spool
	done  *Imported
	op    importMessages
	sizes appendMessages // the same messages, for who admits them
	size  int
	ids   map[message.ID]bool
}

// take adds a message, unless it is known.
func (b *importBatch) take(ctx context.Context, i Item) error {
	known, err := b.known(ctx, i.ID)
	if err != nil {
		return err
	}
	if known {
		b.done.Known++
		return nil
	}
	n := &importedMessage{newMessage: newMessage{msg: i.Message, size: i.Message.Size(), imported: true, onHold: i.OnHold}}
	if i.State == message.StateDead {
		n.dead = &i
	}
	if size := n.bytes(); b.size+size > b.s.sizes.op && len(b.op.added) > 0 {
		if err := b.flush(ctx); err != nil {
			return err
		}
	}
	b.sizes.added = append(b.sizes.added, &n.newMessage)
	if err := b.s.admit(&b.sizes); err != nil {
		return err
	}
	if n.size > b.s.sizes.inline {
		b.s.storeApart(&n.newMessage)
	}
	b.size += n.bytes()
	b.op.added = append(b.op.added, n)
	b.ids[i.ID] = true
	return nil
}

func (b *importBatch) known(ctx context.Context, id message.ID) (bool, error) {
	if b.ids[id] {
		return true, nil
	}
	_, err := b.s.Receipt(ctx, id)
	if errors.Is(err, ErrNotFound) {
		return false, nil
	}
	return err == nil, err
}

// flush makes the batch durable.
func (b *importBatch) flush(ctx context.Context) error {
	if len(b.op.added) == 0 {
		return nil
	}
	op := b.op
	b.op, b.sizes, b.size = importMessages{}, appendMessages{}, 0
	clear(b.ids)
	if err := b.s.commit(ctx, &op); err != nil {
		return err
	}
	if op.err == nil {
		b.done.Messages += len(op.added)
	}
	return op.err
}

// importedMessage is a message with the ID that it had.
type importedMessage struct {
	newMessage

	dead *Item // nil: pending
}

// bytes bounds what n writes: its record, where its payload is, its ID, its
// hold, and as a dead letter its receipt.
func (n *importedMessage) bytes() int {
	const each = 256
	size := each + n.recordSize()
	if n.dead != nil {
		r := n.dead.Receipt
		size += 512 + len(n.dead.Reason) + len(r.Topic) + len(r.LastError) + (len(r.History.First)+len(r.History.Last))*(2*maxDetail+48)
	}
	if n.payload != nil {
		size += int(n.payload.chunks) * deleteSize
	}
	return size
}

// importMessages accepts messages that keep their IDs.
type importMessages struct {
	added []*importedMessage
	err   error
}

func (op *importMessages) size() int {
	size, topic, origin := fixedSize, "", message.SpoolID{}
	for _, n := range op.added {
		size += n.bytes()
		if n.msg.Topic != topic || n.msg.ID.Spool() != origin {
			size, topic, origin = size+fixedSize, n.msg.Topic, n.msg.ID.Spool()
		}
	}
	return size
}

func (op *importMessages) apply(c *commit) {
	s := c.s
	all := appendMessages{}
	for _, n := range op.added {
		all.added = append(all.added, &n.newMessage)
	}
	if op.err = all.check(c); op.err != nil {
		for _, n := range op.added {
			c.dropChunks(n.payload)
		}
		return
	}
	for _, n := range op.added {
		l := s.laneFor(n.msg.Topic)
		if n.dead == nil {
			c.add(l, &n.newMessage)
			continue
		}
		c.acceptDead(l, n)
	}
}

func (op *importMessages) synced(s *Spool) {
	if op.err != nil {
		return
	}
	s.hasImported = true
	for _, n := range op.added {
		if h := s.holds[n.msg.Seq]; h != nil {
			h.synced = true
		}
		if n.dead == nil {
			s.enter(&n.newMessage)
		}
	}
}

// keepID gives n its sequence. It has no number in its topic: that of the spool
// it comes from is not counted here.
func (c *commit) keepID(l *lane, n *newMessage) {
	n.msg.Seq, n.msg.TopicSeq = c.nextSeq(), 0
	l.numbers.earlier++
	c.sets = append(c.sets, pair{importKey(n.msg.ID), seal(binary.AppendUvarint(nil, n.msg.Seq))})
	l.attempted = max(l.attempted, n.msg.Seq)
	l.attemptedAtOpen = max(l.attemptedAtOpen, n.msg.Seq)
	if n.onHold {
		h := newHold(&entry{lane: l, msg: n.msg}, c.now)
		c.s.addHold(n.msg.Seq, h)
		c.sets = append(c.sets, pair{holdKey(l.id, n.msg.Seq), encodeHold(h)})
	}
}

// acceptDead accepts a message that is a dead letter from the start.
func (c *commit) acceptDead(l *lane, n *importedMessage) {
	c.keepID(l, &n.newMessage)
	end := &ending{lane: l, payload: n.payload}
	end.seq, end.Receipt = n.msg.Seq, n.dead.Receipt
	if p := n.payload; p != nil {
		p.rec.Seq, p.rec.TopicSeq, p.rec.ID, p.rec.AcceptedAt = n.msg.Seq, 0, n.msg.ID, n.msg.AcceptedAt
		c.sets = append(c.sets, pair{chunkSetKey(n.msg.Seq), p.encode()})
	}
	c.sets = append(c.sets, pair{deadKey(l.id, n.msg.Seq), encodeDead(end, n.dead.Reason, n.msg)})
	l.counts.accepted++
	l.counts.dead++
	l.counts.bytes += uint64(n.size)
	c.s.held += int64(n.size)
	c.s.dead[n.msg.Seq] = l
	c.touch(l)
}

// importedSeq finds a message that kept the ID of another spool.
func (s *Spool) importedSeq(id message.ID) (uint64, bool) {
	if !s.mayHaveImported() {
		return 0, false
	}
	v, err := s.db.Get(importKey(id))
	if err != nil {
		return 0, false // the read that follows meets what is wrong, too
	}
	b, err := unseal(v)
	f := fields{b: b}
	seq := f.uint()
	return seq, err == nil && !f.failed
}

func (s *Spool) mayHaveImported() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.hasImported
}

// loadImported looks whether there is any imported message.
func (s *Spool) loadImported() error {
	return s.db.Scan(kv.Scan{Prefix: importPrefix, KeysOnly: true}, func(_, _ []byte) (bool, error) {
		s.hasImported = true
		return false, nil
	})
}
