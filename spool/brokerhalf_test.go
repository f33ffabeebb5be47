package spool_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/remora-mq/remora/internal/kv"
	"github.com/remora-mq/remora/message"
	"github.com/remora-mq/remora/spool"
)

// placed is where the broker of tests has a half message.
func placed(number int) message.HalfPlace {
	return message.HalfPlace{
		Topic: "t", Broker: "broker-a", Address: "127.0.0.1:10911", Group: "remora", Queue: "broker-a/3",
		QueueOffset: int64(number), LogOffset: int64(1000 * number), OffsetMessageID: fmt.Sprint("offset ", number), MessageID: "M", TransactionID: "M",
	}
}

// prepareAtBroker prepares a transaction, and has its half message be there.
func (r *rig) prepareAtBroker(id string, d spool.Draft) spool.Transaction {
	r.t.Helper()
	x := prepared(id, d)
	x.AtBroker = true
	t, _ := r.prepare(x)
	if t.Half == nil || t.Half.Issued != 1 || t.Half.Number != 0 {
		r.t.Fatalf("prepared %+v", t.Half)
	}
	return r.place(id, 1)
}

func (r *rig) place(id string, number int) spool.Transaction {
	r.t.Helper()
	t, err := r.PlaceHalf(context.Background(), id, uint64(number), placed(number))
	if err != nil || t.Half.Number != uint64(number) || t.Half.Place != placed(number) {
		r.t.Fatalf("placed %+v, %v", t.Half, err)
	}
	return t
}

// dueEnd waits for the one transaction that is to be ended.
func (r *rig) dueEnd(commit bool) spool.HalfEnd {
	r.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	all, err := r.DueEnds(ctx, 10)
	if err != nil || len(all) != 1 || all[0].Commit != commit {
		r.t.Fatalf("to be ended are %+v, %v; want one, commit %t", all, err, commit)
	}
	return all[0]
}

func (r *rig) noEnds() {
	r.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Millisecond)
	defer cancel()
	if all, err := r.DueEnds(ctx, 10); !errors.Is(err, context.DeadlineExceeded) {
		r.t.Fatalf("%d are to be ended (%v), want none", len(all), err)
	}
}

func (r *rig) ended(id string, told spool.Told) spool.Transaction {
	r.t.Helper()
	t, err := r.EndedHalf(context.Background(), id, told)
	if err != nil {
		r.t.Fatal(err)
	}
	return t
}

// A commit stands at once, and its message is confirmed when the broker has said so.
func TestCommitIsConfirmedByTheBroker(t *testing.T) {
	for name, again := range restarts() {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r, _ := timed(t, spool.Options{RetainFor: time.Hour, RetainBytes: 1 << 20})
			tx := r.prepareAtBroker("tx", bulky(draft("t", "1")))
			again(r)
			r.noEnds()
			r.decided("tx", spool.TransactionCommitted)
			again(r)
			r.are(tx.Messages, message.StateHalf)
			if n := r.TransactionCounts(); n.Ending != 1 || n.Decided != 0 {
				t.Fatalf("there are %+v", n)
			}
			r.balanced()
			if end := r.dueEnd(true); end.Half.Place != placed(1) {
				t.Fatalf("it is to be ended at %+v", end.Half)
			}
			r.noEnds()
			r.ended("tx", spool.Told{Place: placed(1), Commit: true})
			again(r)
			r.noEnds()
			got := r.receipt(tx.Messages[0])
			if got.State != message.StateConfirmed || got.Confirmation == nil || got.Confirmation.Queue != "broker-a/3" || got.Confirmation.OffsetMessageID != "offset 1" || got.Confirmation.Flushed() {
				t.Fatalf("its message is %+v, %+v", got, got.Confirmation)
			}
			if n := r.balanced().Ledger.Total; n.Confirmed != 1 || n.InSpool.Held() != 0 || n.Bytes != 0 {
				t.Fatalf("the ledger is %+v", n)
			}
			r.decided("tx", spool.TransactionCommitted)
			if _, err := r.decide("tx", spool.TransactionRolledBack); !errors.Is(err, spool.ErrDecided) {
				t.Errorf("the opposite: %v", err)
			}
			r.noEnds()
			r.none("t")
		})
	}
}

// What the broker has not got any more is sent as any other message is.
func TestGoneHalfMessageBecomesPending(t *testing.T) {
	for name, again := range restarts() {
		t.Run(name, func(t *testing.T) {
			r, _ := timed(t, spool.Options{})
			tx := r.prepareAtBroker("tx", bulky(draft("t", "1")))
			r.decided("tx", spool.TransactionCommitted)
			r.dueEnd(true)
			r.ended("tx", spool.Told{Place: placed(1), Commit: true, Gone: true})
			again(r)
			r.noEnds()
			if l := r.lease("t", 0); len(l) != 1 || l[0].ID != tx.Messages[0] || l[0].TopicSeq != 1 {
				t.Fatalf("leased %q", bodies(l))
			}
			r.balanced()
		})
	}
}

func TestRollbackIsToldToTheBroker(t *testing.T) {
	for name, again := range restarts() {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r, c := timed(t, spool.Options{})
			tx := r.prepareAtBroker("tx", draft("t", "1"))
			r.decided("tx", spool.TransactionRolledBack)
			again(r)
			r.are(tx.Messages, message.StateRolledBack)
			r.dueEnd(false)
			if err := r.EndHalfAgain(t.Context(), "tx", "connection refused", time.Minute); err != nil {
				t.Fatal(err)
			}
			r.flush()
			again(r)
			r.noEnds()
			c.advance(time.Minute)
			if end := r.dueEnd(false); end.Half.Tries != 1 || end.Half.LastTry != "connection refused" {
				t.Fatalf("it is %+v", end.Half)
			}
			r.ended("tx", spool.Told{Place: placed(1)})
			again(r)
			r.noEnds()
			if n := r.TransactionCounts(); n.Ending != 0 || n.Decided != 1 {
				t.Fatalf("there are %+v", n)
			}
			if n := r.balanced().Ledger.Total; n.RolledBack != 1 || n.InSpool.Held() != 0 {
				t.Fatalf("the ledger is %+v", n)
			}
		})
	}
}

// Where no half message is known to be at a broker, a commit needs none.
func TestUnplacedHalfMessageIsDecidedHere(t *testing.T) {
	r, _ := timed(t, spool.Options{})
	for _, id := range []string{"committed", "rolled back"} {
		d := prepared(id, draft("t", id))
		d.AtBroker = true
		r.prepare(d)
	}
	r.decided("committed", spool.TransactionCommitted)
	r.decided("rolled back", spool.TransactionRolledBack)
	r.kill()
	r.noEnds()
	if got, err := r.PlaceHalf(t.Context(), "committed", 1, placed(1)); err != nil || got.Half.Number != 0 {
		t.Errorf("placed late: %+v, %v", got.Half, err)
	}
	r.noEnds()
	if got := bodies(r.leaseAll("t")); len(got) != 1 || got[0] != "committed" {
		t.Errorf("pending are %q", got)
	}
	r.balanced()
}

// One that is found elsewhere while it is ended has to be ended there, too: by a
// rollback, once its message is confirmed.
func TestHalfMessageMovesWhileItIsEnded(t *testing.T) {
	for name, again := range restarts() {
		t.Run(name, func(t *testing.T) {
			r, _ := timed(t, spool.Options{})
			tx := r.prepareAtBroker("tx", draft("t", "1"))
			r.decided("tx", spool.TransactionCommitted)
			r.dueEnd(true)
			moved := placed(1)
			moved.LogOffset += 7
			if _, err := r.PlaceHalf(t.Context(), "tx", 1, moved); err != nil {
				t.Fatal(err)
			}
			r.ended("tx", spool.Told{Place: placed(1), Commit: true, Gone: true}) // of the old place that says nothing
			again(r)
			r.are(tx.Messages, message.StateHalf)
			r.dueEnd(true)
			r.ended("tx", spool.Told{Place: placed(1), Commit: true})
			again(r)
			r.are(tx.Messages, message.StateConfirmed)
			if end := r.dueEnd(false); end.Half.Place != moved {
				t.Fatalf("it is to be ended at %+v", end.Half.Place)
			}
			r.ended("tx", spool.Told{Place: moved, Gone: true})
			r.noEnds()
			r.balanced()
		})
	}
}

// Each half message replaces the one before, which is to be rolled back.
func TestReplacedHalfMessages(t *testing.T) {
	for name, again := range restarts() {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r, _ := timed(t, spool.Options{})
			r.prepareAtBroker("tx", draft("t", "1"))
			if got, err := r.IssueHalf(t.Context(), "tx"); err != nil || got.Half.Issued != 2 || got.Half.Number != 1 {
				t.Fatalf("issued %+v, %v", got.Half, err)
			}
			again(r)
			r.place("tx", 2)
			if got, err := r.PlaceHalf(t.Context(), "tx", 1, placed(9)); err != nil || got.Half.Place != placed(2) {
				t.Fatalf("the former was placed again: %+v, %v", got.Half, err)
			}
			again(r)
			r.decided("tx", spool.TransactionCommitted)
			end := r.dueEnd(true)
			if len(end.Half.Former) != 1 || end.Half.Former[0] != placed(1) {
				t.Fatalf("former are %+v", end.Half.Former)
			}
			r.ended("tx", spool.Told{Place: placed(2), Commit: true})
			again(r)
			end = r.dueEnd(false)
			r.ended("tx", spool.Told{Place: placed(2), Former: end.Half.Former})
			r.noEnds()
			r.balanced()
			if got, err := r.IssueHalf(t.Context(), "tx"); err != nil || got.Half.Issued != 2 {
				t.Errorf("issued of one that is decided: %+v, %v", got.Half, err)
			}
		})
	}
}

// However often one was replaced, what is noted of it is bounded: the oldest are left to
// their brokers' questions.
func TestFormerHalfMessagesAreBounded(t *testing.T) {
	r, _ := timed(t, spool.Options{})
	r.prepareAtBroker("tx", draft("t", "1"))
	const last = 9
	for n := 2; n <= last; n++ {
		if got, err := r.IssueHalf(t.Context(), "tx"); err != nil || got.Half.Issued != uint64(n) {
			t.Fatalf("issued %+v, %v", got.Half, err)
		}
		r.place("tx", n)
	}
	large := placed(last + 1)
	large.Address = strings.Repeat("a", 2000)
	if _, err := r.PlaceHalf(t.Context(), "tx", last+1, large); !errors.Is(err, spool.ErrTooLarge) {
		t.Errorf("a place that no broker has: %v", err)
	}
	r.decided("tx", spool.TransactionRolledBack)
	r.kill()
	var former []message.HalfPlace
	for n := last - 4; n < last; n++ {
		former = append(former, placed(n))
	}
	if end := r.dueEnd(false); end.Half.Place != placed(last) || !slices.Equal(end.Half.Former, former) {
		t.Errorf("it is %+v", end.Half)
	}
}

// An index that is lost, or a head, leaves what is to be ended; the half message of a
// transaction that is lost is nobody's, and an operator decides its message.
func TestDamagedTransactionsAtABroker(t *testing.T) {
	for name, c := range map[string]struct {
		do   func(*rig)
		lost bool
	}{
		"the index":       {func(r *rig) { r.removed("sq") }, false},
		"the head":        {func(r *rig) { r.damaged("sh", flipLast) }, false},
		"the topic":       {func(r *rig) { r.damaged("st", flipLast) }, false},
		"the transaction": {func(r *rig) { r.damaged("sp", flipLast) }, true},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r, _ := timed(t, spool.Options{})
			tx := r.prepareAtBroker("tx", draft("t", "1"))
			r.decided("tx", spool.TransactionCommitted)
			c.do(r)
			r.doubted()
			r.kill()
			if _, err := r.AcknowledgeDamage(t.Context()); err != nil {
				t.Fatal(err)
			}
			r.reopen()
			r.balanced()
			if c.lost {
				r.noEnds()
				if got, err := r.Transaction(t.Context(), "tx"); err != nil || got.State != spool.TransactionUndecided || got.Half != nil {
					t.Fatalf("it is %+v, %v", got, err)
				}
				return
			}
			r.dueEnd(true)
			r.ended("tx", spool.Told{Place: placed(1), Commit: true})
			r.are(tx.Messages, message.StateConfirmed)
			r.balanced()
		})
	}
}

// Neither a cancellation nor an export takes the message from the broker.
func TestHalfMessageAtABrokerElsewhere(t *testing.T) {
	r, _ := timed(t, spool.Options{})
	tx := r.prepareAtBroker("tx", draft("t", "1"))
	if _, err := r.Cancel(t.Context(), tx.Messages[0]); !errors.Is(err, spool.ErrWrongState) {
		t.Errorf("cancelled: %v", err)
	}
	r.decided("tx", spool.TransactionCommitted)
	if _, err := r.Cancel(t.Context(), tx.Messages[0]); !errors.Is(err, spool.ErrWrongState) {
		t.Errorf("cancelled after the commit: %v", err)
	}
	other, _ := timed(t, spool.Options{})
	if got := other.take(r.export(spool.Query{})); got.Transactions != 1 || got.Messages != 1 {
		t.Fatalf("taken in %+v", got)
	}
	if got, err := other.Transaction(t.Context(), "tx"); err != nil || got.State != spool.TransactionUndecided || got.Half != nil {
		t.Errorf("it is %+v, %v", got, err)
	}
	r.dueEnd(true)
	r.balanced()
}

// TestDueEndsAreToldOnce: while others are decided, none is told twice that is not over:
// its broker would deliver it twice.
func TestDueEndsAreToldOnce(t *testing.T) {
	const clients, each = 8, 50
	r := newRig(t, spool.Options{})
	var deciding sync.WaitGroup
	for c := range clients {
		var ids []string
		for n := range each {
			id := fmt.Sprintf("%d-%d", c, n)
			r.prepareAtBroker(id, draft("t", id))
			ids = append(ids, id)
		}
		deciding.Go(func() {
			for _, id := range ids {
				if _, err := r.CommitTransaction(t.Context(), id, "test"); err != nil {
					t.Error(err)
				}
			}
		})
	}
	told := map[string]int{}
	for len(told) < clients*each {
		all, err := r.DueEnds(t.Context(), 16)
		if err != nil {
			t.Fatal(err)
		}
		for _, e := range all {
			if told[e.ID]++; told[e.ID] > 1 {
				t.Fatalf("%s is told for the %d. time, after %d others", e.ID, told[e.ID], len(told)-1)
			}
		}
	}
	deciding.Wait()
}

// Nor is one of which a damage brings back that it is to be checked.
func TestDueEndIsToldOnceWhoeverReadsOfIt(t *testing.T) {
	r, c := timed(t, spool.Options{})
	r.prepareAtBroker("first", draft("t", "1"))
	r.prepareAtBroker("second", draft("t", "2"))
	check := r.find("sqc")[1]
	c.advance(time.Minute)
	r.decided("second", spool.TransactionCommitted)
	r.behind(func(tx *kv.Tx) { tx.Set(check.key, check.value) })
	if end := r.dueEnd(true); end.ID != "second" {
		t.Fatalf("to be ended is %s", end.ID)
	}
	if got := r.dueChecks(10); !slices.Equal(got, []string{"first"}) {
		t.Fatalf("due are %q", got)
	}
	r.decided("first", spool.TransactionCommitted) // its place is before that of the second
	if end := r.dueEnd(true); end.ID != "first" {
		t.Errorf("to be ended is %s", end.ID)
	}
	r.noEnds()
}
