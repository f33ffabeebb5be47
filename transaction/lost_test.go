package transaction_test

import (
	"context"
	"fmt"
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
	b.set(func() { b.cut(offset) })
	if ordinary {
		b.set(func() { b.next++; b.ordinary[offset] = true })
	}
}

func (b *halfBroker) cut(offset int64) {
	for at := offset; at <= b.next; at++ {
		delete(b.half, at)
		delete(b.waiting, at)
	}
	b.next = offset - 1
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
	r.counted(k, "remora_half_messages_lost_total", "", 1)
	r.commit("lost")
	r.await("lost", ended)
	b.await(t, "once", func() bool { return slices.Equal(b.delivered, []string{"lost"}) && len(b.rolled) == 0 })
	if got := r.await("other", in(spool.TransactionHalf)); got.Half.Number != 1 {
		t.Errorf("the other one was replaced: %+v", got.Half)
	}
}

// replaced waits until the half message has been replaced, and all of that is done: its
// application is asked nothing before. Then the Keeper is ended.
func (r *rig) replaced(b *halfBroker, id string) spool.Transaction {
	r.t.Helper()
	t := r.await(id, func(t spool.Transaction) bool { return t.Half.Number == 2 })
	question := broker.HalfCheck{Half: broker.Half{Transaction: id, Number: 2}, MessageID: t.Messages[0], Place: t.Half.Place, Times: 1}
	before, _ := r.app.asked()
	r.await(id, func(spool.Transaction) bool {
		b.checks <- question
		n, _ := r.app.asked()
		return n > before
	})
	r.end()
	return t
}

// mustDeliverOnce commits a transaction whose half message was replaced at its place.
func (r *rig) mustDeliverOnce(b *halfBroker, id string) {
	r.t.Helper()
	if len(b.rolled) > 0 { // of the Keeper that has ended
		r.t.Fatalf("what stands there is rolled back: %d", b.rolled)
	}
	r.keep(b)
	r.commit(id)
	r.await(id, ended)
	r.end()
	if !slices.Equal(b.delivered, []string{id}) || len(b.rolled) > 0 {
		r.t.Errorf("delivered %q, rolled back %d", b.delivered, b.rolled)
	}
}

// A broker that loses a half message while that is replaced may put the new one at its
// place: then there is nothing left to roll back.
func TestReplacementAtTheSamePlaceStands(t *testing.T) {
	for _, mayNotLook := range []bool{false, true} {
		t.Run(fmt.Sprint("asked, may not look ", mayNotLook), func(t *testing.T) {
			r, b := newRig(t, transaction.Options{}, says(500, "")), newHalfBroker()
			tx := r.mustAtBroker(r.keep(b), "tx")
			b.set(func() { b.preparing, b.mayNotLook = func() { b.cut(2) }, mayNotLook })
			b.asks(tx, 1, 10) // at 2
			if got := r.replaced(b, "tx"); got.Half.Place.LogOffset != 2 {
				t.Fatalf("it is at %+v", got.Half.Place)
			}
			r.mustDeliverOnce(b, "tx")
		})
	}
	t.Run("dropped", func(t *testing.T) {
		r, b := newRig(t, transaction.Options{}, says(500, "")), newHalfBroker()
		r.mustAtBroker(r.keep(b), "tx")
		r.end()
		b.set(func() { b.dropped, b.preparing = []uint64{1}, func() { b.cut(1) } })
		r.keep(b)
		r.replaced(b, "tx")
		b.set(func() { b.dropped = nil })
		r.mustDeliverOnce(b, "tx")
	})
}

// While one is replaced its broker may lose it, and have that of another transaction at
// its place: that is not rolled back.
func TestReplacementRollsBackNoOther(t *testing.T) {
	r, b := newRig(t, transaction.Options{}, says(500, "")), newHalfBroker()
	tx := r.mustAtBroker(r.keep(b), "tx")
	b.set(func() {
		b.preparing = func() {
			b.cut(2)
			b.next++
			b.half[b.next] = broker.Half{Transaction: "other", Number: 1}
		}
	})
	b.asks(tx, 1, 10) // at 2
	r.replaced(b, "tx")
	r.mustDeliverOnce(b, "tx")
}

// replacedAtItsPlace is an open transaction whose half message was lost, and replaced
// where it was; the Keeper has ended.
func replacedAtItsPlace(t *testing.T) (r *rig, b *halfBroker, lost, stands spool.Transaction) {
	t.Helper()
	r, b = newRig(t, transaction.Options{}, says(500, "")), newHalfBroker()
	lost = r.mustAtBroker(r.keep(b), "tx")
	r.end()
	b.loseTail(lost.Half.Place.LogOffset, false)
	r.keep(b)
	stands = r.replaced(b, "tx")
	if was, is := lost.Half.Place, stands.Half.Place; is.LogOffset != was.LogOffset || is.Queue == was.Queue {
		t.Fatalf("it is at %+v, and was at %+v", is, was)
	}
	return r, b, lost, stands
}

// The decision ends what stands at the place of the lost one, and does not roll that
// back as one that was replaced: not either when the broker has moved it since.
func TestDecisionRollsBackNoReplacement(t *testing.T) {
	t.Run("looks", func(t *testing.T) {
		r, b, _, _ := replacedAtItsPlace(t)
		r.mustDeliverOnce(b, "tx")
	})
	t.Run("may not look", func(t *testing.T) {
		r, b, _, _ := replacedAtItsPlace(t)
		b.set(func() { b.mayNotLook = true })
		r.mustDeliverOnce(b, "tx")
	})
	t.Run("moved", func(t *testing.T) {
		r, b, _, stands := replacedAtItsPlace(t)
		r.keep(b)
		b.asks(stands, 2, 1)
		r.await("tx", func(t spool.Transaction) bool { return t.Half.Place.LogOffset == 2 })
		r.end()
		r.mustDeliverOnce(b, "tx")
	})
}

// One that replaced a lost one at its place, and was not noted before its process ended,
// is not the one that stands: the message is sent, and that rolled back when it is asked for.
func TestReplacementThatWasNotNotedIsNotCommitted(t *testing.T) {
	r, b := newRig(t, transaction.Options{}, says(500, "")), newHalfBroker()
	tx := r.mustAtBroker(r.keep(b), "tx")
	r.end()
	b.loseTail(tx.Half.Place.LogOffset, false)
	issued, err := r.IssueHalf(t.Context(), "tx")
	if err != nil {
		t.Fatal(err)
	}
	half := broker.Half{Transaction: "tx", Number: issued.Half.Issued}
	place, err := b.Prepare(t.Context(), &message.Message{ID: tx.Messages[0], Topic: "t"}, half)
	if err != nil || !place.Same(tx.Half.Place) {
		t.Fatalf("it is at %+v, %v", place, err)
	}
	r.commit("tx")
	r.keep(b)
	r.await("tx", ended)
	if got, err := r.Receipt(t.Context(), tx.Messages[0]); err != nil || got.State != message.StatePending {
		t.Errorf("the message is not sent: %+v, %v", got, err)
	}
	b.asks(tx, half.Number, 1)
	b.await(t, "only rolled back", func() bool { return len(b.delivered) == 0 && slices.Equal(b.rolled, []uint64{2}) })
}

// A question for the lost one, that has waited, is none for what stands at its place.
func TestQuestionForALostHalfMessageRollsBackNoReplacement(t *testing.T) {
	r, b, lost, _ := replacedAtItsPlace(t)
	r.keep(b)
	question := broker.HalfCheck{Half: broker.Half{Transaction: "tx", Number: 1}, MessageID: lost.Messages[0], Place: lost.Half.Place, Times: 1}
	for range 2 { // the second is taken once the first is answered
		b.checks <- question
	}
	r.end()
	r.mustDeliverOnce(b, "tx")
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
