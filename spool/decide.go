package spool

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/remora-mq/remora/internal/kv"
	"github.com/remora-mq/remora/message"
)

// CommitTransaction makes all messages of a transaction pending, or delayed where
// they ask for that: from now on. When it returns nil that is on stable storage.
// They get their places and numbers in one commit, so whoever leases sees all of
// them or none, before and after any crash.
//
// Of a transaction that is committed it returns what stands. by is who decided.
// Errors: ErrNoTransaction; a *DecidedError when it was rolled back, with what is
// known of it; ErrDiskLow when there is no room for the move; those of a commit, of
// which ErrUnknown says that the decision may stand: ask again.
func (s *Spool) CommitTransaction(ctx context.Context, id, by string) (Transaction, error) {
	return s.decide(ctx, id, TransactionCommitted, by)
}

// RollBackTransaction ends all messages of a transaction as rolled back: none of
// them is ever forwarded. For the rest see CommitTransaction; it needs no room.
func (s *Spool) RollBackTransaction(ctx context.Context, id, by string) (Transaction, error) {
	return s.decide(ctx, id, TransactionRolledBack, by)
}

func (s *Spool) decide(ctx context.Context, id string, to TransactionState, by string) (Transaction, error) {
	return s.changeTransaction(ctx, id, func(t *Transaction) (operation, error) {
		switch {
		case t.State == to:
			return nil, nil // nothing is left to do
		case t.State.Decided():
			return nil, &DecidedError{t.State}
		}
		return s.decision(ctx, t, to, by)
	})
}

// changeTransaction has a transaction to itself while it is changed, by an operation
// that change makes of it; nil: none is needed. It waits until ctx ends, and no longer
// where it has to read (patiently).
func (s *Spool) changeTransaction(ctx context.Context, id string, change func(*Transaction) (operation, error)) (Transaction, error) {
	if err := s.over(ctx); err != nil {
		return Transaction{}, err
	}
	if t, o := s.takeFresh(id); t != nil {
		return s.changeOwned(ctx, t, o, change)
	}
	return patiently(ctx, s, func() (Transaction, error) {
		o, err := s.ownID(ctx, id)
		if err != nil {
			return Transaction{}, err
		}
		t, err := s.named(s.names.ofID(id))
		if err != nil {
			s.unlessUnknown(o, nil)
			return Transaction{}, err
		}
		return s.changeOwned(ctx, t, o, change)
	})
}

func (s *Spool) changeOwned(ctx context.Context, t *Transaction, o *owned, change func(*Transaction) (operation, error)) (Transaction, error) {
	op, err := change(t)
	t.fresh = nil // who is answered keeps no messages
	if op == nil && err == nil {
		err = s.tellReceipts(ctx, t)
	}
	if op == nil || err != nil {
		s.unlessUnknown(o, nil)
		return *t, err
	}
	if err := s.offerChange(ctx, &ownedOperation{op, o}); err != nil {
		s.unlessUnknown(o, err)
		if ctx.Err() != nil && !errors.Is(err, ErrUnknown) { // it was withdrawn; who does not wait is told what he would be a moment later
			err = fmt.Errorf("%w: %w", ErrUnknown, err)
		}
		return Transaction{}, fmt.Errorf("transaction %s: %w", t.ID, err) // t is the commit's
	}
	if t.Receipts = receiptsOfDecision(op, t); t.Receipts != nil {
		return *t, nil
	}
	return patiently(ctx, s, func() (Transaction, error) {
		err := s.tellReceipts(ctx, t)
		return *t, err
	})
}

// offerChange is commit for who decides. Commits that offers share with what has no
// hurry are fewer (kv.Queue.Offer). But where an accept is refused at once, because the
// disk is behind, a decision waits.
func (s *Spool) offerChange(ctx context.Context, op operation) error {
	err := errorOf(s.queue.Offer(ctx, op, op.size()))
	if errors.Is(err, ErrBusy) && !errors.Is(err, ErrUnknown) {
		return s.commit(ctx, op)
	}
	return err
}

// ownedOperation gives up the names of its transaction when it is synced: also when
// nobody waits for it any more.
type ownedOperation struct {
	operation

	owned *owned
}

func (op *ownedOperation) synced(s *Spool) {
	op.operation.synced(s)
	s.disown(op.owned)
}

// decision decides a transaction: of its messages either moved or ended are those
// that are still half.
type decision struct {
	*Transaction

	was   due
	moved []*movedMessage
	ended []*ending
}

// decision reads the messages of t. One that was cancelled is passed over, and so is
// one that cannot be read: that is noticed, and the next opening counts it.
func (s *Spool) decision(ctx context.Context, t *Transaction, to TransactionState, by string) (operation, error) {
	if to == TransactionCommitted {
		if err := s.roomToSpare(); err != nil {
			return nil, fmt.Errorf("commit the messages of a transaction: %w", err)
		}
	}
	op := &decision{Transaction: t, was: t.due()}
	for i, id := range t.Messages {
		if t.Half.decide(to) {
			break // the message stays until the broker has confirmed
		}
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		n, err := s.messageAt(t, i)
		switch {
		case err == nil:
			op.add(s, n, to)
		case s.db.Err() != nil || s.closed():
			return nil, err
		case !errors.Is(err, kv.ErrNotFound):
			s.notice(fmt.Sprintf("message %s of transaction %s: %v", id, t.ID, err))
		}
	}
	t.State, t.DecidedBy, t.NextCheckAt = to, clip(by), time.Time{}
	return op, nil
}

// messageAt finds one of the messages of t, or reads it as surelyHalf does.
func (s *Spool) messageAt(t *Transaction, i int) (*movedMessage, error) {
	if len(t.fresh) > 0 {
		return t.fresh[i].prepared(), nil
	}
	return s.surelyHalf(t, t.Messages[i])
}

// surelyHalf is halfOf for who acts on it that it is none any more: a decision passes it
// over, and a broker is told to roll it back.
func (s *Spool) surelyHalf(t *Transaction, id message.ID) (*movedMessage, error) {
	n, err := s.halfOf(t, id)
	for _, seq := range []uint64{s.ownSeq(id), s.seqOf(id)} {
		err = s.surely(err, kv.Scan{Prefix: key64(delayedPrefix, seq)})
	}
	return n, s.surely(err, kv.Scan{Prefix: importKey(id)})
}

// halfOf reads a half message of t. kv.ErrNotFound: it is none any more.
func (s *Spool) halfOf(t *Transaction, id message.ID) (*movedMessage, error) {
	d, err := s.halfEntry(t, id)
	if err != nil {
		return nil, err
	}
	n, err := s.moved(d)
	if err != nil {
		return nil, err
	}
	n.delay, n.newMessage.deliverAt = d.delay, d.deliverAt
	return n, nil
}

// halfEntry is halfOf without its payload.
func (s *Spool) halfEntry(t *Transaction, id message.ID) (delayed, error) {
	d, err := s.halfAt(s.ownSeq(id), t, id)
	if errors.Is(err, kv.ErrNotFound) { // unless it was imported
		d, err = s.halfAt(s.seqOf(id), t, id)
	}
	return d, err
}

func (s *Spool) halfAt(seq uint64, t *Transaction, id message.ID) (d delayed, err error) {
	d, err = s.findDelayed(seq)
	if err == nil && (!d.half() || d.due.at != t.number || d.record.ID != id) {
		err = kv.ErrNotFound
	}
	return d, err
}

func (op *decision) add(s *Spool, n *movedMessage, to TransactionState) {
	if to == TransactionCommitted {
		op.moved = append(op.moved, n)
		return
	}
	op.ended = append(op.ended, s.endHalf(n, message.StateRolledBack))
}

// endHalf ends a half message where it is.
func (s *Spool) endHalf(n *movedMessage, state message.State) *ending {
	e := &entry{msg: n.msg, size: n.size, payload: n.payload, state: message.StatePending}
	s.mu.Lock()
	e.lane = s.lanes[n.msg.Topic]
	s.mu.Unlock()
	end := newEnding(e, state, s.now())
	end.delayed = &n.from
	return end
}

func (op *decision) size() int {
	topics := map[string]bool{}
	size := fixedSize + op.room()
	for _, n := range op.moved {
		topics[n.msg.Topic] = true
		size += movedSize(&n.newMessage)
	}
	for _, e := range op.ended {
		topics[e.Topic] = true
		size += rolledBackSize(e.Topic, e.payload)
	}
	return size + len(topics)*decidedTopicSize
}

// decidedTopicSize bounds what a decision writes for a topic: the messages of one
// have a run of sequences, so at most two bitmaps tell of them.
const decidedTopicSize = topicSize + 2*bitmapBytes

// movedSize bounds what moving a half message writes beside that.
func movedSize(n *newMessage) int {
	const each = 256 + 4*valueOverhead
	size := each + n.recordSize() + n.ttlSize()
	if n.delay > 0 || !n.deliverAt.IsZero() {
		size += delayRoom
	}
	return size
}

// rolledBackSize bounds what the ending of one writes: its receipt has two events,
// which say nothing more than their names.
func rolledBackSize(topic string, p *payload) int {
	const each = 448 + 5*valueOverhead
	if p != nil {
		return each + len(topic) + int(p.chunks)*deleteSize
	}
	return each + len(topic)
}

// decisionSize bounds either decision of what is being prepared, also after an adoption,
// which gives it another URL, of any length.
func decisionSize(op *appendMessages) int {
	size := fixedSize + op.half.room(len(op.added)) + MaxCheckURL - len(op.half.Check.URL) + op.topics()*decidedTopicSize
	for _, n := range op.added {
		size += max(movedSize(n), rolledBackSize(n.msg.Topic, n.payload))
	}
	return size
}

func (op *decision) apply(c *commit) {
	op.EndedAt = c.now
	op.settle(c)
	if op.State == TransactionRolledBack && op.Key != "" {
		c.deletes = append(c.deletes, nameKey(c.s.names.ofKey(op.Key)))
	}
	op.write(c, op.was)
}

// settle does what becomes of the messages.
func (op *decision) settle(c *commit) {
	op.at = op.was.moved(op.clock(), c.elapsed)
	for _, n := range op.moved {
		c.move(n, millis(c.now))
	}
	for _, e := range op.ended {
		if c.end(e); e.done { // until it is synced its receipt is found in memory
			c.s.settling[e.seq] = &e.receipt
		}
	}
}

// synced lets the forwarder see all of it at once.
func (op *decision) synced(s *Spool) {
	s.transactions.back(op.due())
	if op.ends() {
		s.schedule(op.due())
	}
	s.enterMoved(op.moved)
	for _, e := range op.ended {
		if e.done {
			delete(s.settling, e.seq)
			s.notify(e.seq)
		}
	}
}
