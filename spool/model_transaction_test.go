package spool_test

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"pgregory.net/rapid"

	"github.com/remora-mq/remora/message"
	"github.com/remora-mq/remora/spool"
)

// modelTransaction is what the model knows of one.
type modelTransaction struct {
	draft spool.TransactionDraft
	state spool.TransactionState
	all   []*held
}

// drawTransaction makes a draft that no other is like.
func (m *model) drawTransaction(t *rapid.T) spool.TransactionDraft {
	var drafts []spool.Draft
	for range rapid.SampledFrom([]int{1, 2, 5}).Draw(t, "messages") {
		d := m.draw(t)
		d.DedupeKey = ""
		drafts = append(drafts, d)
	}
	d := prepared(fmt.Sprint("transaction ", m.bodies), drafts...)
	d.Fingerprint[1] = byte(m.bodies)
	if rapid.Bool().Draw(t, "keyed") {
		d.Key = d.ID
	}
	return d
}

func (m *model) addTransaction(d spool.TransactionDraft, ids []message.ID) *modelTransaction {
	x := &modelTransaction{draft: d}
	for i, id := range ids {
		x.all = append(x.all, &held{id: id, draft: d.Messages[i], state: message.StateHalf})
	}
	m.all = append(m.all, x.all...)
	m.transactions = append(m.transactions, x)
	return x
}

func (m *model) prepareSome(t *rapid.T) {
	d := m.drawTransaction(t)
	got, _ := m.prepare(d)
	m.addTransaction(d, got.Messages)
}

// prepareAgain finds the transaction as it stands.
func (m *model) prepareAgain(t *rapid.T) {
	if len(m.transactions) == 0 {
		return
	}
	x := m.transactions[rapid.IntRange(0, len(m.transactions)-1).Draw(t, "transaction")]
	got, _, err := m.Prepare(t.Context(), x.draft)
	if x.state == spool.TransactionRolledBack {
		if !errors.Is(err, spool.ErrDecided) {
			t.Fatalf("prepared again after it was rolled back: %v", err)
		}
		return
	}
	m.sameTransaction(t, x, got, err)
}

func (m *model) sameTransaction(t *rapid.T, x *modelTransaction, got spool.Transaction, err error) {
	var ids []message.ID
	for _, h := range x.all {
		ids = append(ids, h.id)
	}
	if err != nil || got.ID != x.draft.ID || got.State != x.state || !slices.Equal(got.Messages, ids) {
		t.Fatalf("transaction %+v is %s, want %s: %v", got, got.State, x.state, err)
	}
}

// prepareAndDie kills the process at some moment of a prepare: there is one
// transaction after a retry, whenever it was.
func (m *model) prepareAndDie(t *rapid.T) {
	d := m.drawTransaction(t)
	first := m.whileDying(func(s *spool.Spool) (spool.Transaction, error) {
		got, _, err := s.Prepare(context.Background(), d)
		return got, err
	})
	again, _, err := m.Prepare(t.Context(), d)
	if err != nil || again.Duplicate && !slices.Equal(again.Messages, first.Messages) {
		t.Fatalf("the retry found %+v, %v, stored was %+v", again, err, first)
	}
	m.sameTransaction(t, m.addTransaction(d, again.Messages), again, err)
	m.awaitDelayed(m.delayed())
	m.expire(t)
}

// whileDying kills the process at some moment of a call, which goes on in a copy of it
// that is gone. It returns what that was answered.
func (m *model) whileDying(call func(*spool.Spool) (spool.Transaction, error)) spool.Transaction {
	s := m.Spool
	answer := make(chan spool.Transaction, 1)
	go func() {
		got, err := call(s)
		if err != nil {
			got = spool.Transaction{}
		}
		answer <- got
	}()
	m.die()
	first := <-answer
	m.rig.open()
	m.restarted()
	return first
}

// decideSome decides any transaction, or leaves it undecided: what is decided
// stays so.
func (m *model) decideSome(t *rapid.T) {
	if len(m.transactions) == 0 {
		return
	}
	x := m.transactions[rapid.IntRange(0, len(m.transactions)-1).Draw(t, "transaction")]
	to := rapid.SampledFrom([]spool.TransactionState{spool.TransactionCommitted, spool.TransactionRolledBack, spool.TransactionUndecided}).Draw(t, "decision")
	if to == spool.TransactionUndecided {
		got, err := m.Undecide(t.Context(), x.draft.ID, "model")
		if x.state == spool.TransactionHalf {
			m.follow(t, x, to)
		}
		m.sameTransaction(t, x, got, err)
		return
	}
	got, err := m.decide(x.draft.ID, to)
	if x.state.Decided() && x.state != to {
		if !errors.Is(err, spool.ErrDecided) || got.State != x.state {
			t.Fatalf("%s, and it was %s: %+v, %v", to, x.state, got, err)
		}
		return
	}
	m.follow(t, x, to)
	m.sameTransaction(t, x, got, err)
}

// decideAndDie kills the process at some moment of a decision: it stands, or may
// still be made.
func (m *model) decideAndDie(t *rapid.T) {
	open := slices.DeleteFunc(slices.Clone(m.transactions), func(x *modelTransaction) bool { return x.state.Decided() })
	if len(open) == 0 {
		return
	}
	x := open[rapid.IntRange(0, len(open)-1).Draw(t, "transaction")]
	to := rapid.SampledFrom([]spool.TransactionState{spool.TransactionCommitted, spool.TransactionRolledBack}).Draw(t, "decision")
	m.whileDying(func(s *spool.Spool) (spool.Transaction, error) {
		if to == spool.TransactionCommitted {
			return s.CommitTransaction(context.Background(), x.draft.ID, "model")
		}
		return s.RollBackTransaction(context.Background(), x.draft.ID, "model")
	})
	got, err := m.Transaction(t.Context(), x.draft.ID)
	if got.State == to {
		m.follow(t, x, to)
		for _, h := range x.all {
			h.former = true
		}
	}
	m.sameTransaction(t, x, got, err)
	m.awaitDelayed(m.delayed())
	m.expire(t)
	m.audit(t)
}

// follow does with the messages of a transaction what was decided.
func (m *model) follow(t *rapid.T, x *modelTransaction, to spool.TransactionState) {
	if x.state == to {
		return
	}
	x.state = to
	var moved []*held
	for _, h := range x.all {
		switch {
		case h.state == message.StateCancelled:
		case to == spool.TransactionUndecided:
			h.state = message.StateUndecided
		case to == spool.TransactionRolledBack:
			h.state = message.StateRolledBack
		default:
			moved = append(moved, h)
		}
	}
	m.all = slices.DeleteFunc(m.all, func(h *held) bool { return slices.Contains(moved, h) })
	from := len(m.all)
	m.all = append(m.all, moved...)
	m.inOrder(t, from)
	for _, h := range m.all[from:] {
		h.former, h.until, h.falls = false, m.until(h.draft), m.falls(h.draft)
		if h.state = m.firstState(h); h.state == message.StatePending {
			m.number(h)
			m.beginTTL(h)
		}
	}
}
