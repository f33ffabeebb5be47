package spool_test

import (
	"fmt"
	"testing"

	"github.com/remora-mq/remora/message"
	"github.com/remora-mq/remora/spool"
)

// Whoever looks at a transaction while it is decided sees it before or after, and
// never a state with the receipts of the other side.
func TestTransactionIsToldAsOfOneMoment(t *testing.T) {
	r := newRig(t, spool.Options{})
	for i := range 60 {
		id, to := fmt.Sprint("tx-", i), spool.TransactionCommitted+spool.TransactionState(i%2)
		r.prepare(prepared(id, draft("a", "body"), draft("b", "body"), draft("a", "body")))
		decided := make(chan error, 1)
		go func() {
			_, err := r.decide(id, to)
			decided <- err
		}()
		for looks, done := 0, false; !done; looks++ {
			got, err := r.Transaction(t.Context(), id)
			if err != nil || len(got.Receipts) != 3 {
				t.Fatalf("%+v, %v", got, err)
			}
			for _, m := range got.Receipts {
				half, rolledBack := m.State == message.StateHalf, m.State == message.StateRolledBack
				if half == got.State.Decided() || rolledBack != (got.State == spool.TransactionRolledBack) {
					t.Fatalf("transaction %s is %s, and a message of it %s", id, got.State, m.State)
				}
			}
			done = got.State == to
		}
		if err := <-decided; err != nil {
			t.Fatal(err)
		}
	}
}

// A decision tells the receipts of all that it was made for, in order.
func TestDecisionTellsReceipts(t *testing.T) {
	r := newRig(t, spool.Options{})
	for _, c := range []struct {
		to        spool.TransactionState
		want      message.State
		cancelled int // the message that is cancelled before
	}{
		{spool.TransactionCommitted, message.StatePending, -1}, {spool.TransactionRolledBack, message.StateRolledBack, -1},
		{spool.TransactionCommitted, message.StatePending, 1}, {spool.TransactionRolledBack, message.StateRolledBack, 0},
	} {
		id := fmt.Sprint(c.to, c.cancelled)
		tx, _ := r.prepare(prepared(id, draft("a", "body"), draft("b", "body")))
		if c.cancelled >= 0 {
			if _, err := r.Cancel(t.Context(), tx.Messages[c.cancelled]); err != nil {
				t.Fatal(err)
			}
		}
		for range 2 { // it is told again
			got := r.decided(id, c.to)
			for i, m := range got.Receipts {
				want := c.want
				if i == c.cancelled {
					want = message.StateCancelled
				}
				if len(got.Receipts) != 2 || m.ID != tx.Messages[i] || m.State != want {
					t.Errorf("%s: message %d of %d is %+v, want %s", id, i, len(got.Receipts), m, want)
				}
			}
			if len(got.Receipts) == 0 {
				t.Errorf("%s: no receipts", id)
			}
		}
	}
}
