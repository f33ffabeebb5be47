package spool

import (
	"context"
	"errors"
	"fmt"

	"github.com/remora-mq/remora/message"
)

// Transaction returns one by its ID, as it stood at one moment, with the receipts of
// its messages. While it is being decided it waits for that. Errors: ErrNoTransaction,
// ErrBusy, ErrReadOnly, ErrClosed.
func (s *Spool) Transaction(ctx context.Context, id string) (Transaction, error) {
	t, err := s.toldOf(ctx, id)
	if err != nil || t.agrees() {
		return t, err
	}
	o, err := s.own(ctx, s.names.ofID(id))
	if err != nil {
		return Transaction{}, fmt.Errorf("transaction %.40q: %w", id, err)
	}
	defer s.unlessUnknown(o, nil)
	return s.toldOf(ctx, id)
}

func (s *Spool) toldOf(ctx context.Context, id string) (Transaction, error) {
	if err := s.over(ctx); err != nil {
		return Transaction{}, err
	}
	t, err := s.named(s.names.ofID(id))
	if err != nil {
		return Transaction{}, err
	}
	err = s.tellReceipts(ctx, t)
	return *t, err
}

// agrees reports whether the receipts are of the same moment as the state: messages
// are half until it releases them, but for those that were cancelled.
func (t *Transaction) agrees() bool {
	for _, r := range t.Receipts {
		half := r.State == message.StateHalf
		if r.State != message.StateCancelled && half == t.released() || t.State == TransactionCommitted && r.State == message.StateRolledBack {
			return false
		}
	}
	return true
}

// tellReceipts reads those of its messages that are known.
func (s *Spool) tellReceipts(ctx context.Context, t *Transaction) error {
	t.Receipts = nil
	for _, id := range t.Messages {
		r, err := s.Receipt(ctx, id)
		switch {
		case err == nil:
			t.Receipts = append(t.Receipts, r)
		case !errors.Is(err, ErrNotFound):
			return err
		}
	}
	return nil
}

// receiptsOfDecision are those of all messages of t, if op has just decided them; nil:
// they have to be read.
func receiptsOfDecision(op operation, t *Transaction) (all []message.Receipt) {
	d, decides := op.(*decision)
	if !decides || len(d.moved)+len(d.ended) != len(t.Messages) {
		return nil
	}
	for _, n := range d.moved {
		if !n.done {
			return nil
		}
		all = append(all, n.receipt())
	}
	for _, e := range d.ended {
		if !e.done {
			return nil
		}
		all = append(all, e.Receipt)
	}
	return all
}
