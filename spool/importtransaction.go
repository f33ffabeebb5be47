package spool

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/remora-mq/remora/message"
)

// importedTransaction is one on its way in, with its messages.
type importedTransaction struct {
	Transaction

	all []*importedHalf
}

type importedHalf struct {
	msg       *message.Message
	delay     time.Duration
	deliverAt time.Time
}

// takeTransaction takes in a transaction, all of it or nothing. It is undecided from
// the start: its application is not here.
func (b *importBatch) takeTransaction(ctx context.Context, x *importedTransaction) error {
	if err := b.flush(ctx); err != nil { // what stands before it comes before it
		return err
	}
	s, t := b.s, x.Transaction
	o, err := s.own(ctx, s.names.of(&t)...)
	if err != nil {
		return err
	}
	known, err := b.knownTransaction(ctx, x)
	if known || err != nil {
		s.unlessUnknown(o, nil)
		return err
	}
	conflicts := 0
	if t.Key != "" {
		if _, err := s.named(s.names.ofKey(t.Key)); !errors.Is(err, ErrNoTransaction) {
			conflicts, t.Key = len(x.all), ""
		}
	}
	t.State, t.DecidedBy, t.number = TransactionUndecided, "imported", s.nextTransaction()
	op := &appendMessages{half: &preparation{Transaction: &t, owned: o, imported: true, all: s.names.of(&t)}}
	for _, m := range x.all {
		op.added = append(op.added, &newMessage{msg: m.msg, size: m.msg.Size(), imported: &broughtAlong{}, half: &t, delay: m.delay, deliverAt: m.deliverAt})
	}
	if err := s.importHalf(ctx, op); err != nil {
		s.unlessUnknown(o, err)
		if err = fmt.Errorf("transaction %s: %w", t.ID, err); errors.Is(err, ErrTooLarge) {
			return &LineError{Err: err} // it never fits here; others may
		}
		return err
	}
	b.done.Transactions++
	b.done.Messages += len(x.all)
	b.done.Conflicts += conflicts
	return nil
}

// knownTransaction reports whether it is here, or was: by its ID, or by its first message.
func (b *importBatch) knownTransaction(ctx context.Context, x *importedTransaction) (known bool, err error) {
	_, err = b.s.named(b.s.names.ofID(x.ID))
	if errors.Is(err, ErrNoTransaction) {
		if _, err = b.s.Receipt(ctx, x.all[0].msg.ID); errors.Is(err, ErrNotFound) {
			return false, nil
		}
	}
	if err != nil {
		return false, err
	}
	b.done.Known += len(x.all)
	return true, nil
}

func (s *Spool) importHalf(ctx context.Context, op *appendMessages) error {
	if err := s.neverFits(ctx, op); err != nil {
		return err
	}
	if err := s.prepare(ctx, op); err != nil {
		return err
	}
	if size, most := max(op.size(), decisionSize(op)), s.db.MaxCommit(); size > most {
		s.dropPayloads(op)
		return &TooLargeError{"one commit, which has all messages of a transaction", int64(size), int64(most)}
	}
	if err := s.commitOrDrop(ctx, op, op); err != nil {
		return err
	}
	return op.err
}
