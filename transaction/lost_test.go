package transaction_test

import (
	"context"
	"slices"
	"testing"

	"github.com/remora-mq/remora/broker"
	"github.com/remora-mq/remora/message"
	"github.com/remora-mq/remora/spool"
	"github.com/remora-mq/remora/transaction"
)

// loseTail has the broker lose all that it has from offset on, as one does that dies
// before it has flushed it, and put something else there.
func (b *halfBroker) loseTail(offset int64, ordinary bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for at := offset; at <= b.next; at++ {
		delete(b.half, at)
	}
	b.next = offset - 1
	if ordinary {
		b.next++
		b.ordinary[offset] = true
	}
}

// A broker that lost a half message has the next one at its place, under the same group
// and the same offsets: to commit the first would commit that.
func TestCommitOfALostHalfMessageCommitsNoOther(t *testing.T) {
	r, b := newRig(t, transaction.Options{}, says(500, "")), newHalfBroker()
	k := r.keep(b)
	lost := r.mustAtBroker(k, "lost")
	b.loseTail(lost.Half.Place.LogOffset, false)
	other := r.mustAtBroker(k, "other")
	if other.Half.Place.LogOffset != lost.Half.Place.LogOffset {
		t.Fatalf("it is at %d, the lost one was at %d", other.Half.Place.LogOffset, lost.Half.Place.LogOffset)
	}
	r.commit("lost")
	r.await("lost", ended)
	if got, err := r.Receipt(t.Context(), lost.Messages[0]); err != nil || got.State != message.StatePending {
		t.Errorf("the message is not sent: %+v, %v", got, err)
	}
	b.await(t, "nothing is committed", func() bool { return len(b.delivered)+len(b.rolled) == 0 })
	r.commit("other")
	r.await("other", ended)
	b.await(t, "once", func() bool { return slices.Equal(b.delivered, []string{"other"}) })
}

// Of a message that is none of its half messages a broker says nothing that tells of
// that: both decisions come to their end all the same.
func TestDecisionsOfLostHalfMessagesEnd(t *testing.T) {
	for name, decide := range map[string]func(*spool.Spool, context.Context, string, string) (spool.Transaction, error){
		"commit": (*spool.Spool).CommitTransaction, "rollback": (*spool.Spool).RollBackTransaction,
	} {
		t.Run(name, func(t *testing.T) {
			r, b := newRig(t, transaction.Options{}, says(500, "")), newHalfBroker()
			tx := r.mustAtBroker(r.keep(b), "tx")
			b.loseTail(tx.Half.Place.LogOffset, true)
			if _, err := decide(r.Spool, t.Context(), "tx", "test"); err != nil {
				t.Fatal(err)
			}
			r.await("tx", ended)
		})
	}
}

// One of which nothing is decided is replaced, without an end for what lies at its
// place, then or with the decision.
func TestLostHalfMessageIsReplaced(t *testing.T) {
	r, b := newRig(t, transaction.Options{}, says(500, "")), newHalfBroker()
	k := r.keep(b)
	lost := r.mustAtBroker(k, "lost")
	b.loseTail(lost.Half.Place.LogOffset, false)
	r.mustAtBroker(k, "other")
	r.end()
	k = r.keep(b)
	r.await("lost", func(t spool.Transaction) bool { return t.Half.Number == 2 })
	b.await(t, "told", k.Dropped)
	r.commit("lost")
	r.await("lost", ended)
	b.await(t, "once", func() bool { return slices.Equal(b.delivered, []string{"lost"}) && len(b.rolled) == 0 })
	if got := r.await("other", in(spool.TransactionHalf)); got.Half.Number != 1 {
		t.Errorf("the other one was replaced: %+v", got.Half)
	}
}

// Who may not look tells the broker all the same.
func TestWhatMayNotBeLookedAtIsEnded(t *testing.T) {
	r, b := newRig(t, transaction.Options{}, says(500, "")), newHalfBroker()
	b.set(func() { b.mayNotLook = true })
	r.mustAtBroker(r.keep(b), "tx")
	r.commit("tx")
	r.await("tx", ended)
	b.await(t, "once", func() bool { return slices.Equal(b.delivered, []string{"tx"}) })
}

var _ broker.Halves = (*halfBroker)(nil)
