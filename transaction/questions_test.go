package transaction_test

import (
	"context"
	"errors"
	"net/http"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/remora-mq/remora/broker"
	"github.com/remora-mq/remora/message"
	"github.com/remora-mq/remora/spool"
	"github.com/remora-mq/remora/transaction"
)

// What is not known here is not decided: neither an ID of nobody, nor one that is known
// of another message, as where somebody else's spool had the same group.
func TestUnknownHalfMessageIsAnAlarm(t *testing.T) {
	for name, strange := range map[string]func(known, local spool.Transaction) broker.HalfCheck{
		"an ID": func(known, _ spool.Transaction) broker.HalfCheck {
			return broker.HalfCheck{Half: broker.Half{Transaction: "of nobody", Number: 1}, MessageID: known.Messages[0]}
		},
		"a message": func(known, _ spool.Transaction) broker.HalfCheck {
			return broker.HalfCheck{Half: broker.Half{Transaction: known.ID, Number: 1}, MessageID: message.ID{1}}
		},
		"nothing of ours": func(known, _ spool.Transaction) broker.HalfCheck {
			return broker.HalfCheck{Half: broker.Half{Transaction: known.ID, Number: 1}}
		},
		"one of mode local": func(_, local spool.Transaction) broker.HalfCheck {
			return broker.HalfCheck{Half: broker.Half{Transaction: local.ID, Number: 1}, MessageID: local.Messages[0]}
		},
	} {
		t.Run(name, func(t *testing.T) {
			r, b := newRig(t, transaction.Options{}, says(200, "COMMIT")), newHalfBroker()
			k := r.keep(b)
			known := r.mustAtBroker(k, "known")
			question := strange(known, r.prepare(spool.TransactionDraft{ID: "local", Check: check(15)}))
			question.Place, question.Times = known.Half.Place, 1
			if k.Strange() {
				t.Error("it is strange before anybody asked")
			}
			for range 2 {
				b.checks <- question
			}
			b.await(t, "alarmed", k.Strange)
			r.counted(k, "remora_half_message_questions_total", "unknown_id", 2)
			r.end()
			if all, _ := r.app.asked(); all > 0 || len(b.delivered)+len(b.rolled) > 0 {
				t.Errorf("asked %d times; delivered %q, rolled back %d", all, b.delivered, b.rolled)
			}
		})
	}
}

// A commit that a broker has confirmed and lost is made again when it asks, once its
// consumers cannot have it; what they have, or get without the half message, is not.
func TestLostCommitIsRepaired(t *testing.T) {
	for name, c := range map[string]struct {
		ago     time.Duration // it was confirmed
		gone    bool          // it was sent instead
		forgets bool
		commits int
		rolls   bool
		answer  string
	}{
		"lost":                        {time.Minute, false, true, 1, false, "commit"},
		"there":                       {time.Minute, false, false, 0, true, "rollback"},
		"just confirmed, and unknown": {0, false, true, 0, false, "unknown"},
		"sent without it":             {time.Minute, true, true, 0, true, "rollback"},
	} {
		t.Run(name, func(t *testing.T) {
			r, b := newRig(t, transaction.Options{}, says(500, "")), newHalfBroker()
			r.close()
			r.now = func() time.Time { return time.Now().Add(-c.ago) }
			r.open()
			k := r.keep(b)
			tx := r.mustAtBroker(k, "tx")
			if c.gone {
				b.set(func() { clear(b.half) })
			}
			r.commit("tx")
			r.await("tx", ended)
			if c.forgets {
				b.set(func() { b.delivered = nil })
			}
			before := len(b.delivered)
			b.asks(tx, 1, 1)
			b.checks <- broker.HalfCheck{} // taken once that is answered
			r.end()
			if len(b.delivered)-before != c.commits || c.rolls != slices.Equal(b.rolled, []uint64{1}) {
				t.Errorf("committed %d times, rolled back %d", len(b.delivered)-before, b.rolled)
			}
			r.counted(k, "remora_half_message_questions_total", c.answer, 1)
		})
	}
}

// halfOver is a committed transaction whose message is confirmed, at the half message at
// offset 3, and that is not over: its broker refuses to end the one that was replaced.
func halfOver(t *testing.T) (r *rig, b *halfBroker, k *transaction.Keeper, tx spool.Transaction) {
	t.Helper()
	r, b = newRig(t, transaction.Options{}, says(500, "")), newHalfBroker()
	k = r.keepOn(hasty{r.Spool}, b)
	tx = r.mustAtBroker(k, "tx")
	b.set(func() { b.refuses = map[int64]bool{2: true} })
	b.asks(tx, 1, 10) // at 2
	r.await("tx", func(t spool.Transaction) bool { return t.Half.Number == 2 && len(t.Half.Former) == 1 })
	r.commit("tx")
	r.await("tx", func(tx spool.Transaction) bool {
		got, err := r.Receipt(t.Context(), tx.Messages[0])
		return err == nil && got.State == message.StateConfirmed
	})
	return r, b, k, tx
}

// What a broker has confirmed it may forget at once, before all else of the transaction is
// over: then its question is answered as later, and what was replaced is rolled back.
func TestLostCommitIsRepairedBeforeAllIsOver(t *testing.T) {
	for name, c := range map[string]struct {
		forgets bool // else only that the half message is over
		want    []uint64
		answer  string
	}{
		"lost":  {true, []uint64{1}, "commit"},
		"there": {false, []uint64{2, 1}, "rollback"},
	} {
		t.Run(name, func(t *testing.T) {
			r, b, k, tx := halfOver(t)
			if c.forgets {
				b.set(func() { b.delivered = nil })
			}
			b.asks(tx, 2, 1)
			b.checks <- broker.HalfCheck{} // taken once that is answered
			b.set(func() { b.refuses = nil })
			got := r.await("tx", ended)
			r.end()
			if !slices.Equal(b.delivered, []string{"tx"}) || !slices.Equal(slices.Compact(b.rolled), c.want) || got.Half.Place.LogOffset != 4 {
				t.Errorf("delivered %q, rolled back %d; %+v", b.delivered, b.rolled, got.Half)
			}
			r.counted(k, "remora_half_message_questions_total", c.answer, 1)
		})
	}
}

// To be told again of what was replaced takes nothing from the half message that carries
// the message: a broker that has lost its commit would not ask for it any more.
func TestConfirmedHalfMessageIsNotRolledBack(t *testing.T) {
	r, b, _, tx := halfOver(t)
	b.set(func() { b.delivered, b.refuses = nil, nil })
	r.await("tx", ended)
	b.await(t, "only the replaced one", func() bool { return len(b.rolled) > 0 && !slices.Contains(b.rolled, 2) })
	b.asks(tx, 2, 1)
	b.await(t, "again", func() bool { return slices.Equal(b.delivered, []string{"tx"}) })
}

// A question that comes with the answer to the commit names the half message at another
// place: that is not rolled back unseen either.
func TestHalfMessageThatMovesWhileItIsCommitted(t *testing.T) {
	for name, forgets := range map[string]bool{"lost": true, "there": false} {
		t.Run(name, func(t *testing.T) {
			r, b := newRig(t, transaction.Options{}, says(500, "")), newHalfBroker()
			noting := &notingSpool{hasty: hasty{r.Spool}, noting: make(chan struct{}), goOn: make(chan struct{})}
			tx := r.mustAtBroker(r.keepOn(noting, b), "tx")
			r.commit("tx")
			<-noting.noting
			if forgets {
				b.set(func() { b.delivered = nil })
			}
			b.asks(tx, 1, 1) // at 2
			b.checks <- broker.HalfCheck{}
			close(noting.goOn)
			r.await("tx", ended)
			if len(b.rolled) > 0 {
				t.Errorf("rolled back %d", b.rolled)
			}
			b.asks(tx, 1, 2)
			b.checks <- broker.HalfCheck{}
			r.end()
			if !slices.Equal(b.delivered, []string{"tx"}) || forgets != (len(b.rolled) == 0) {
				t.Errorf("delivered %q, rolled back %d", b.delivered, b.rolled)
			}
		})
	}
}

// notingSpool waits once, when it is to note what a broker has confirmed.
type notingSpool struct {
	hasty

	noting, goOn chan struct{}
	once         sync.Once
}

func (s *notingSpool) EndedHalf(ctx context.Context, id string, told spool.Told) (spool.Transaction, error) {
	s.once.Do(func() { close(s.noting); <-s.goOn })
	return s.hasty.EndedHalf(ctx, id, told)
}

// While a broker is being told the decision its question is left without an answer: both
// together would be two commits.
func TestQuestionWhileTheDecisionIsTold(t *testing.T) {
	r, b := newRig(t, transaction.Options{}, says(500, "")), newHalfBroker()
	tx := r.mustAtBroker(r.keep(b), "tx")
	b.set(func() { b.end = errors.New("connection refused") })
	r.commit("tx")
	r.await("tx", func(t spool.Transaction) bool { return t.Half.Tries > 0 })
	telling, goOn := make(chan struct{}), make(chan struct{})
	b.set(func() { b.looking, b.end = func() { close(telling); <-goOn }, nil })
	<-telling
	b.asks(tx, 1, 1)
	b.checks <- broker.HalfCheck{} // taken once that is answered
	if n := len(b.delivered) + len(b.rolled); n > 0 {
		t.Errorf("delivered %q, rolled back %d", b.delivered, b.rolled)
	}
	close(goOn)
	r.await("tx", ended)
	b.await(t, "once", func() bool { return slices.Equal(b.delivered, []string{"tx"}) })
}

// What is undecided is left to an operator: no question of a broker has the application
// asked again. Its half message is kept all the same.
func TestQuestionForWhatIsUndecided(t *testing.T) {
	r, b := newRig(t, transaction.Options{}, says(200, "COMMIT")), newHalfBroker()
	tx := r.mustAtBroker(r.keep(b), "tx")
	if _, err := r.Undecide(t.Context(), "tx", "test"); err != nil {
		t.Fatal(err)
	}
	b.asks(tx, 1, 9)
	b.asks(tx, 1, 10)
	r.await("tx", func(t spool.Transaction) bool { return t.Half.Number == 2 })
	r.end()
	if all, _ := r.app.asked(); all > 0 {
		t.Errorf("the application was asked %d times", all)
	}
	r.await("tx", in(spool.TransactionUndecided))
}

// A question that has a half message replaced has its application asked as well: those that
// come while it is being replaced ask nobody, and there may be no other before the next.
func TestQuestionThatRenewsAsksToo(t *testing.T) {
	r, b := newRig(t, transaction.Options{}, says(200, "COMMIT")), newHalfBroker()
	tx := r.mustAtBroker(r.keep(b), "tx")
	b.asks(tx, 1, 10)
	got := r.await("tx", ended)
	if got.State != spool.TransactionCommitted || got.Half.Number != 2 {
		t.Errorf("%+v, half message %d", got, got.Half.Number)
	}
	r.end()
}

// An application is asked for a transaction once at a time, however often its broker asks.
func TestQuestionWhileTheApplicationIsAsked(t *testing.T) {
	asked, goOn := make(chan struct{}, 10), make(chan struct{})
	r, b := newRig(t, transaction.Options{}, func(w http.ResponseWriter, req *http.Request) {
		asked <- struct{}{}
		<-goOn
		says(200, "UNKNOWN")(w, req)
	}), newHalfBroker()
	tx := r.mustAtBroker(r.keep(b), "tx")
	b.asks(tx, 1, 1)
	<-asked
	b.asks(tx, 1, 2)
	b.checks <- broker.HalfCheck{} // taken once that is answered
	select {
	case <-asked:
		t.Error("it is asked twice at once")
	case <-time.After(50 * time.Millisecond):
	}
	close(goOn)
	r.counted(r.checker, "remora_transaction_checks_total", "unknown", 1)
}

// A prepare whose call ended between the broker and the spool is repeated with a half
// message of another number: the first one, that nobody has noted, is rolled back.
func TestRepeatedPrepareNumbersItsHalfMessage(t *testing.T) {
	r, b := newRig(t, transaction.Options{}, says(500, "")), newHalfBroker()
	d := spool.TransactionDraft{
		ID: "tx", AtBroker: true, Messages: []spool.Draft{{Message: message.Message{Topic: "t", Body: []byte("body")}}},
		Check: spool.Check{URL: r.app.URL, After: time.Hour, Interval: time.Hour, Most: 15, Exhausted: spool.TransactionUndecided},
	}
	first, _, err := r.Prepare(t.Context(), d)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := b.Prepare(t.Context(), &message.Message{ID: first.Messages[0], Topic: "t"}, broker.Half{Transaction: "tx", Number: 1}); err != nil {
		t.Fatal(err)
	}
	if got, err := r.atBroker(r.keep(b), "tx"); err != nil || !got.Duplicate || got.Half.Number != 2 {
		t.Fatalf("prepared again: %+v, %v", got.Half, err)
	}
	r.commit("tx")
	r.await("tx", ended)
	b.asks(first, 1, 1)
	b.await(t, "once, and the first rolled back", func() bool { return slices.Equal(b.delivered, []string{"tx"}) && slices.Equal(b.rolled, []uint64{1}) })
}

// A renewal that a decision overtakes leaves the half message that stands, and has that
// told: what was to replace it is rolled back.
func TestDecisionOvertakesARenewal(t *testing.T) {
	r, b := newRig(t, transaction.Options{}, says(500, "")), newHalfBroker()
	tx := r.mustAtBroker(r.keepOn(hasty{r.Spool}, b), "tx")
	b.set(func() { b.preparing = func() { r.commit("tx") } })
	b.asks(tx, 1, 10)
	b.await(t, "the renewal is over", func() bool { return slices.Contains(b.rolled, 2) })
	got := r.await("tx", ended)
	r.end()
	if !slices.Equal(b.delivered, []string{"tx"}) || !slices.Equal(b.rolled, []uint64{2}) || got.Half.Number != 1 {
		t.Errorf("delivered %q, rolled back %d; %+v", b.delivered, b.rolled, got.Half)
	}
}

// A half message that nobody noted, as its process had died, is asked for while another
// one is being committed: it takes nothing from that, also when its commit is lost.
func TestHalfMessageThatNobodyNotedReplacesNothing(t *testing.T) {
	r, b := newRig(t, transaction.Options{}, says(500, "")), newHalfBroker()
	tx := r.mustAtBroker(r.keepOn(hasty{r.Spool}, b), "tx")
	b.set(func() { b.refuses = map[int64]bool{1: true} })
	r.commit("tx")
	b.asks(tx, 2, 1)
	b.checks <- broker.HalfCheck{} // taken once that is answered
	b.set(func() { b.refuses = nil })
	got := r.await("tx", ended)
	if !slices.Equal(b.delivered, []string{"tx"}) || len(b.rolled) > 0 || got.Half.Number != 1 {
		t.Fatalf("delivered %q, rolled back %d; %+v", b.delivered, b.rolled, got.Half)
	}
	b.asks(tx, 2, 2)
	b.await(t, "the other one is rolled back", func() bool { return slices.Equal(b.rolled, []uint64{2}) })
	b.set(func() { b.delivered = nil })
	b.asks(tx, 1, 2)
	b.await(t, "the commit is made again", func() bool { return slices.Equal(b.delivered, []string{"tx"}) })
	r.end()
}
