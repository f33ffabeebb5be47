package transaction_test

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/remora-mq/remora/message"
	"github.com/remora-mq/remora/spool"
	"github.com/remora-mq/remora/transaction"
)

// However many applications there are, and however they hang: so many are asked at once.
func TestSoManyAreAskedAtOnce(t *testing.T) {
	const atOnce, hosts, each = 4, 3, 5
	asked, released := make(chan struct{}, hosts*each), make(chan struct{})
	goOn := sync.OnceFunc(func() { close(released) })
	hang := func(w http.ResponseWriter, req *http.Request) {
		asked <- struct{}{}
		<-released
		says(200, "COMMIT")(w, req)
	}
	r := newRig(t, transaction.Options{Concurrency: atOnce, Timeout: time.Minute, Allowed: transaction.Allowed{"http://127.0.0.1:*"}}, hang)
	var ids []string
	for h := range hosts {
		app := newApplication(t, hang)
		for n := range each {
			id := fmt.Sprint(h, "-", n)
			r.prepare(spool.TransactionDraft{ID: id, Check: spool.Check{URL: app.URL + "/tx", Interval: time.Millisecond, Most: 15, Exhausted: spool.TransactionUndecided}})
			ids = append(ids, id)
		}
	}
	defer goOn() // before the applications are closed
	r.run()
	for range atOnce {
		<-asked
	}
	select {
	case <-asked:
		t.Errorf("more than %d are asked at once", atOnce)
	case <-time.After(50 * time.Millisecond):
	}
	goOn()
	for _, id := range ids {
		r.await(id, in(spool.TransactionCommitted))
	}
}

// The open transactions of a host that hangs are put off as quickly as they come: those
// of another do not wait until each of them could have been asked.
func TestManyOfAHostThatHangsDelayNoOther(t *testing.T) {
	const perSecond, hanging = 5, 300
	released := make(chan struct{})
	goOn := sync.OnceFunc(func() { close(released) })
	r := newRig(t, transaction.Options{Rate: perSecond, Concurrency: 4, Timeout: time.Minute, Allowed: transaction.Allowed{"http://127.0.0.1:*"}}, func(w http.ResponseWriter, req *http.Request) {
		<-released
		says(200, "UNKNOWN")(w, req)
	})
	defer goOn()
	check := func(url string) spool.Check {
		return spool.Check{URL: url + "/tx", After: time.Millisecond, Interval: time.Hour, Most: 15, Exhausted: spool.TransactionUndecided}
	}
	for n := range hanging {
		r.prepare(spool.TransactionDraft{ID: fmt.Sprint("hangs ", n), Check: check(r.app.URL)})
	}
	r.prepare(spool.TransactionDraft{ID: "other", Check: check(newApplication(t, says(200, "COMMIT")).URL)})
	began := time.Now()
	r.run()
	r.await("other", in(spool.TransactionCommitted))
	if took := time.Since(began); took > hanging*time.Second/perSecond*3/4 {
		t.Errorf("it was asked after %s, and %d others may be asked a second", took, perSecond)
	}
	goOn()
}

// The questions of a broker lead to no more of ours than the schedule does: so many in a
// second, and of one host half of those at once. What is not asked is asked for again.
func TestBrokersQuestionsArePaced(t *testing.T) {
	const perSecond, n = 40, 20
	asked, released := make(chan struct{}, 1000), make(chan struct{})
	r, b := newRig(t, transaction.Options{Rate: perSecond, Concurrency: 2}, func(w http.ResponseWriter, req *http.Request) {
		asked <- struct{}{}
		<-released
		says(200, "COMMIT")(w, req)
	}), newHalfBroker()
	goOn := sync.OnceFunc(func() { close(released) })
	defer goOn()
	k := r.keep(b)
	var all []spool.Transaction
	for i := range n {
		all = append(all, r.mustAtBroker(k, fmt.Sprint(i)))
	}
	began := time.Now()
	for open := all; len(open) > 0; {
		for i := range open {
			b.asks(open[i], 1, 1)
		}
		select { // nobody, while the first has not answered
		case <-released:
		case <-time.After(100 * time.Millisecond):
			if n := len(asked); n > 1 {
				t.Errorf("%d are asked at once", n)
			}
			goOn()
		}
		open = slices.DeleteFunc(open, func(x spool.Transaction) bool {
			got, err := r.Transaction(t.Context(), x.ID)
			return err == nil && got.State == spool.TransactionCommitted
		})
	}
	if took := time.Since(began); took < (n-3)*time.Second/perSecond {
		t.Errorf("%d were asked in %s", n, took)
	}
	if _, most := r.app.asked(); most > 1 {
		t.Errorf("%d were asked at once", most)
	}
}

// Who prepares may not wait as long as a broker does not answer: it is rolled back all
// the same.
func TestPrepareThatNobodyWaitsForIsRolledBack(t *testing.T) {
	r, b := newRig(t, transaction.Options{}, says(500, "")), newHalfBroker()
	k := r.keep(b)
	ctx, cancel := context.WithCancel(t.Context())
	b.set(func() { b.first = func() error { cancel(); return ctx.Err() } })
	got, err := r.atBrokerAs(ctx, k, spool.TransactionDraft{ID: "tx"})
	if n, ok := errors.AsType[*transaction.NotPreparedError](err); !ok || got.State != spool.TransactionRolledBack {
		t.Errorf("%+v, %v", got, n)
	}
}

// A repeat of a prepare that was answered sends no second half message, whatever has
// become of it.
func TestPrepareAgainSendsNoSecondHalfMessage(t *testing.T) {
	r, b := newRig(t, transaction.Options{}, says(500, "")), newHalfBroker()
	k := r.keep(b)
	first := r.mustAtBroker(k, "tx")
	again := func(what string) {
		t.Helper()
		got, err := r.atBroker(k, "tx")
		if err != nil || !got.Duplicate || got.Half.Issued != 1 || got.Messages[0] != first.Messages[0] {
			t.Errorf("%s: %+v, %+v, %v", what, got, got.Half, err)
		}
	}
	again("while it is half")
	r.commit("tx")
	again("when it is committed")
	r.await("tx", ended)
	again("when its broker has confirmed that")
	if b.next != 1 || len(b.rolled) > 0 {
		t.Errorf("the broker had %d half messages, and rolled back %d", b.next, b.rolled)
	}
}

// What is decided, by an operator, while a broker is sent the half message, stands: the
// half message is rolled back, and what is committed is sent without it.
func TestDecisionDuringAPrepare(t *testing.T) {
	for to, decide := range map[spool.TransactionState]func(*spool.Spool, context.Context, string, string) (spool.Transaction, error){
		spool.TransactionCommitted: (*spool.Spool).CommitTransaction, spool.TransactionRolledBack: (*spool.Spool).RollBackTransaction,
	} {
		t.Run(to.String(), func(t *testing.T) {
			r, b := newRig(t, transaction.Options{}, says(500, "")), newHalfBroker()
			k := r.keep(b)
			b.set(func() {
				b.preparing = func() {
					if _, err := decide(r.Spool, t.Context(), "tx", "operator"); err != nil {
						t.Error(err)
					}
				}
			})
			got, err := r.atBroker(k, "tx")
			if got.State != to || (err == nil) != (to == spool.TransactionCommitted) {
				t.Fatalf("prepared %+v, %v", got, err)
			}
			b.await(t, "the half message is over", func() bool { return slices.Equal(b.rolled, []uint64{1}) && len(b.delivered) == 0 })
			want := map[bool]message.State{true: message.StatePending, false: message.StateRolledBack}[err == nil]
			if receipt, err := r.Receipt(t.Context(), got.Messages[0]); err != nil || receipt.State != want {
				t.Errorf("its message is %+v, %v", receipt, err)
			}
		})
	}
}
