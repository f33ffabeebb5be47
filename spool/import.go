package spool

import (
	"context"
	"errors"
	"fmt"
	"io"

	"github.com/remora-mq/remora/internal/kv"
	"github.com/remora-mq/remora/message"
)

// Imported tells what came of an import.
type Imported struct {
	Messages  int `json:"imported"`
	Known     int `json:"known"`            // held already, or known by their receipt or idempotency key: nothing was done
	Keys      int `json:"idempotency_keys"` // of messages that are settled, or were known without theirs
	Conflicts int `json:"key_conflicts"`    // messages taken in without their idempotency key: it is another's here, of other content or refused
	Refused   int `json:"refused"`          // lines that are not whole, or do not fit here

	Transactions int `json:"transactions,omitempty"`         // that are undecided now; their messages are counted above, too
	Decided      int `json:"decided_transactions,omitempty"` // that are known now

	Unfit []string `json:"unfit,omitempty"` // the first lines that are whole and do not fit here, and why
}

// refuse counts a line that is passed over.
func (i *Imported) refuse(e *LineError) {
	const some = 20
	i.Refused++
	if errors.Is(e, ErrTooLarge) && len(i.Unfit) < some {
		i.Unfit = append(i.Unfit, e.Error())
	}
}

// Import takes in the messages of an export under the IDs that they have, with
// their idempotency keys and the numbers that they have in their topics. What
// it counts as imported is on stable storage when it returns, whether with an
// error or not; doing it again takes in what is missing. A pending message is
// pending, or on hold, a delayed one delayed until the same time, a dead letter a
// dead letter. An open transaction is undecided, a decided one known, from now on for as
// long as what is decided here. A cancel of what was pending
// is refused from then on, with all that was accepted before on its topic: an
// attempt may have been made where the export comes from.
//
// A message is not taken in when it is known here: by its ID, or because a
// message with its idempotency key and content was accepted here meanwhile. A
// repeat of a key that came with the import is answered with the receipt of the
// imported message, or with what is kept of one that was settled before.
//
// A transaction that is larger than one commit is here (ErrTooLarge) is a line that
// does not fit: it is treated as one that is not whole.
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
	_, err = walkExport(r, func(l line) error { return b.take(ctx, l) }, func(e *LineError) error {
		if !partial {
			return e
		}
		if done.refuse(e); e.Line == 0 {
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

// broughtAlong is what a message has that is taken in, beside its ID and the time at which
// it was accepted, which it keeps.
type broughtAlong struct {
	number uint64 // that of its topic where it comes from; 0: it had none
	onHold bool
	dead   *Item // the dead letter that it is; nil: it is none
}

// importedSize bounds what n writes: its record, where its payload is, its ID, its
// hold, and as a dead letter its receipt, and the block that begins behind it.
func (n *newMessage) importedSize() int {
	const each = 256 + importedKeySize + delayedHead + 2*valueOverhead
	size := each + n.recordSize() + n.ttlSize()
	if dead := n.imported.dead; dead != nil {
		r := dead.Receipt
		size += 512 + topicSize + len(dead.Reason) + len(r.Topic) + len(r.LastError) + (len(r.History.First)+len(r.History.Last))*(2*maxDetail+48)
	}
	if n.payload != nil {
		size += int(n.payload.chunks) * deleteSize
	}
	return size
}

// importMessages accepts messages that keep their IDs, and keys of others.
type importMessages struct {
	appendMessages

	keys     []*importedKey
	accepted []*newMessage // of added

	repeats, conflicts, keysKept int // see Imported: Known, Conflicts, Keys
}

func (op *importMessages) size() int {
	size, topic, origin := fixedSize, "", message.SpoolID{}
	for _, n := range op.added {
		size += n.importedSize()
		if n.msg.Topic != topic || n.msg.ID.Spool() != origin {
			size, topic, origin = size+fixedSize, n.msg.Topic, n.msg.ID.Spool()
		}
	}
	return size + len(op.keys)*importedKeySize
}

func (op *importMessages) apply(c *commit) {
	if op.err = op.unsure(); op.err != nil {
		for _, n := range op.added {
			c.dropChunks(n.payload)
		}
		return
	}
	op.sort(c)
	all := appendMessages{added: op.accepted}
	if op.err = all.check(c); op.err != nil {
		for _, n := range op.accepted {
			c.dropChunks(n.payload)
		}
		return
	}
	for _, n := range op.accepted {
		if n.key != (keyHash{}) {
			c.reserved[n.key] = n
		}
		c.add(c.s.laneFor(n.msg.Topic), n)
	}
	op.keysKept = c.keepImported(op.keys)
}

func (op *importMessages) synced(s *Spool) {
	if op.err != nil || len(op.accepted) == 0 {
		return
	}
	s.hasImported = true
	for _, n := range op.accepted {
		if h := s.holds[n.msg.Seq]; h != nil {
			h.synced = true
		}
		if n.imported.dead == nil {
			s.enter(n)
		}
	}
}

// keepID gives n its sequence. Its record has no number: that of the spool it
// comes from is not counted here (importnumber.go).
func (c *commit) keepID(l *lane, n *newMessage) {
	n.msg.Seq, n.msg.TopicSeq = c.nextSeq(), 0
	l.numbers.earlier++
	c.sets = append(c.sets, pair{importKey(n.msg.ID), whereabouts{seq: n.msg.Seq, number: n.imported.number}.encode()})
	isDelayed := n.due.at > 0
	if !isDelayed { // else no attempt was made
		l.attempted = max(l.attempted, n.msg.Seq)
		l.attemptedAtOpen = max(l.attemptedAtOpen, n.msg.Seq)
	}
	if n.imported.onHold {
		h := newHold(&entry{lane: l, msg: n.msg}, c.now)
		if h.delayed = isDelayed; isDelayed {
			c.needs(formatTTL) // an older version would let it fall due
		}
		c.s.addHold(n.msg.Seq, h)
		c.sets = append(c.sets, pair{holdKey(l.id, n.msg.Seq), encodeHold(h)})
	}
}

// acceptDead writes a message that is a dead letter from the start, and has its sequence.
func (c *commit) acceptDead(l *lane, n *newMessage) {
	dead := n.imported.dead
	end, rec := &ending{lane: l, payload: n.payload}, message.Record{Message: *n.msg}
	end.seq, end.Receipt = n.msg.Seq, dead.Receipt
	if n.payload != nil {
		rec = n.payload.rec
	}
	c.needs(formatOf(n.msg))
	c.sets = append(c.sets, pair{deadKey(l.id, n.msg.Seq), encodeDead(end, dead.Reason, rec)})
	l.counts.dead++
	c.s.dead[n.msg.Seq] = l
	c.s.block(l, n.msg)
}

func (s *Spool) mayHaveImported() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.hasImported
}

// loadImported looks whether there is any imported message.
func (s *Spool) loadImported() error {
	return s.db.Scan(kv.Scan{Prefix: importPrefix, KeysOnly: true, Whole: true}, func(_, _ []byte) (bool, error) {
		s.hasImported = true
		return false, nil
	})
}
