package transaction_test

import (
	"errors"
	"slices"
	"testing"
	"time"

	"github.com/remora-mq/remora/broker"
	"github.com/remora-mq/remora/message"
	"github.com/remora-mq/remora/spool"
	"github.com/remora-mq/remora/transaction"
)

// A commit that a former process told, and did not note, is looked for before it is
// made again.
func TestCommitOfAFormerProcessIsNotMadeTwice(t *testing.T) {
	r, b := newRig(t, transaction.Options{}, says(500, "")), newHalfBroker()
	tx := r.mustAtBroker(r.keep(b), "tx")
	r.end()
	r.commit("tx")
	if err := b.End(t.Context(), tx.Half.Place, true); err != nil {
		t.Fatal(err)
	}
	r.keep(b)
	r.await("tx", ended)
	b.await(t, "once", func() bool { return slices.Equal(b.delivered, []string{"tx"}) })
}

// While nobody was here to be asked, the broker has asked as often as it does, and has
// dropped the half message: the next process finds that out, and makes a new one.
func TestDroppedHalfMessageIsReplaced(t *testing.T) {
	r, b := newRig(t, transaction.Options{}, says(500, "")), newHalfBroker()
	k := r.keep(b)
	r.mustAtBroker(k, "dropped")
	r.mustAtBroker(k, "decided")
	r.end()
	r.commit("decided")
	b.set(func() { b.dropped = []uint64{1} })
	if k.Dropped() {
		t.Error("it is told before it was found")
	}
	k = r.keep(b)
	r.await("dropped", func(t spool.Transaction) bool { return t.Half.Number == 2 })
	b.await(t, "the old one is over", func() bool { return slices.Contains(b.rolled, 1) })
	if !k.Dropped() {
		t.Error("it is not told")
	}
	r.counted(k, "remora_half_messages_dropped_total", "", 1)
	if n := k.Renewed(); n != 0 {
		t.Errorf("%d are told as waiting for their applications", n)
	}
	if got := r.await("decided", ended); got.Half.Number != 1 {
		t.Errorf("what is decided was replaced: %+v", got.Half)
	}
}

// The brokers of half messages whose end they have not confirmed are to know whom to ask,
// after a restart too.
func TestBrokersAreExpectedToAskAfterARestart(t *testing.T) {
	r, b := newRig(t, transaction.Options{}, says(500, "")), newHalfBroker()
	k := r.keep(b)
	open, ending, over := r.mustAtBroker(k, "open"), r.mustAtBroker(k, "ending"), r.mustAtBroker(k, "over")
	r.commit("over")
	r.await("over", ended)
	b.set(func() { b.end = errors.New("connection refused") })
	r.commit("ending")
	r.end()
	b.set(func() { b.expected = nil })
	r.keep(b)
	b.await(t, "expected", func() bool {
		return slices.Contains(b.expected, open.Half.Place) && slices.Contains(b.expected, ending.Half.Place)
	})
	r.end()
	if slices.Contains(b.expected, over.Half.Place) {
		t.Error("so is that of one that is over")
	}
}

// Where a process ended before it had noted the broker's answer, any broker of the
// topic may have the half message, and is to know whom to ask.
func TestBrokersOfALostReplyAreExpectedToAsk(t *testing.T) {
	r, b := newRig(t, transaction.Options{}, says(500, "")), newHalfBroker()
	for _, id := range []string{"open", "rolled back"} {
		_, _, err := r.Prepare(t.Context(), spool.TransactionDraft{
			ID: id, AtBroker: true, Messages: []spool.Draft{{Message: message.Message{Topic: "t-" + id, Body: []byte("body")}}},
			Check: spool.Check{URL: r.app.URL, After: time.Hour, Interval: time.Hour, Most: 15, Exhausted: spool.TransactionUndecided},
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	if _, err := r.RollBackTransaction(t.Context(), "rolled back", "test"); err != nil {
		t.Fatal(err)
	}
	r.keep(b)
	b.await(t, "expected", func() bool {
		return slices.Contains(b.expected, message.HalfPlace{Topic: "t-open"}) && slices.Contains(b.expected, message.HalfPlace{Topic: "t-rolled back"})
	})
}

// A half message of which it may not be looked whether it was dropped is not replaced
// before it can have been.
func TestWhatMayNotBeLookedAtIsNotReplacedAtOnce(t *testing.T) {
	r, b := newRig(t, transaction.Options{}, says(500, "")), newHalfBroker()
	r.mustAtBroker(r.keep(b), "tx")
	r.end()
	looked := make(chan struct{}, 1)
	b.set(func() {
		b.look = func(broker.Half) (bool, error) { looked <- struct{}{}; return false, broker.ErrMayNotLook }
	})
	r.keep(b)
	select {
	case <-looked:
	case <-time.After(time.Minute):
		t.Fatal("it is not looked for")
	}
	r.end()
	if got, err := r.Transaction(t.Context(), "tx"); err != nil || got.Half.Issued != 1 {
		t.Errorf("%+v, %v", got.Half, err)
	}
}
