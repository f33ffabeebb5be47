package spool_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/remora-mq/remora/internal/kv"
	"github.com/remora-mq/remora/message"
	"github.com/remora-mq/remora/spool"
)

// prepared is a transaction with a schedule, of some messages.
func prepared(id string, drafts ...spool.Draft) spool.TransactionDraft {
	return spool.TransactionDraft{
		ID: id, Messages: drafts, Fingerprint: [16]byte{byte(len(drafts))},
		Check: spool.Check{URL: "http://127.0.0.1:1/tx", After: time.Minute, Interval: time.Minute, Most: 15, Exhausted: spool.TransactionUndecided},
	}
}

// prepare prepares it, and fails the test unless all of it is half.
func (r *rig) prepare(d spool.TransactionDraft) (spool.Transaction, []message.Receipt) {
	r.t.Helper()
	t, receipts, err := r.Prepare(context.Background(), d)
	if err != nil || t.State != spool.TransactionHalf || len(receipts) != len(d.Messages) {
		r.t.Fatalf("prepared %+v, %d receipts, %v", t, len(receipts), err)
	}
	for i, got := range receipts {
		if got.State != message.StateHalf || got.ID != t.Messages[i] || got.Topic != d.Messages[i].Topic {
			r.t.Fatalf("prepared %+v", got)
		}
	}
	return t, receipts
}

// decided decides it, and fails the test unless that is told.
func (r *rig) decided(id string, to spool.TransactionState) spool.Transaction {
	r.t.Helper()
	t, err := r.decide(id, to)
	if err != nil || t.State != to {
		r.t.Fatalf("transaction %s is %s, want %s: %v", id, t.State, to, err)
	}
	return t
}

func (r *rig) decide(id string, to spool.TransactionState) (spool.Transaction, error) {
	if to == spool.TransactionCommitted {
		return r.CommitTransaction(context.Background(), id, "test")
	}
	return r.RollBackTransaction(context.Background(), id, "test")
}

// is fails the test unless each message is in a state.
func (r *rig) are(ids []message.ID, state message.State) {
	r.t.Helper()
	for _, id := range ids {
		if got, err := r.Receipt(context.Background(), id); err != nil || got.State != state {
			r.t.Fatalf("message %s is %s, want %s: %v", id, got.State, state, err)
		}
	}
}

func TestTransactionIsForwardedWhenItIsCommitted(t *testing.T) {
	for name, again := range restarts() {
		t.Run(name, func(t *testing.T) {
			r, c := timed(t, spool.Options{})
			r.accept(draft("a", "before"))
			tx, _ := r.prepare(prepared("tx", keyed("a", "1", "k"), bulky(draft("b", "2")), after(draft("a", "3"), time.Hour), keyed("a", "4", "k")))
			r.accept(draft("a", "between"))
			again(r)
			if n := r.balanced().Ledger; n.Total.InSpool.Half != 4 || n.Total.InSpool.Pending != 2 || n.Topics["a"].InSpool.Half != 3 {
				t.Fatalf("the ledger is %+v", n)
			}
			r.are(tx.Messages, message.StateHalf)
			others := r.leaseSome("a", 2)
			if got := bodies(others); !slices.Equal(got, []string{"before", "between"}) {
				t.Fatalf("leased %q", got)
			}
			r.none("a")
			r.confirm(others)
			r.Flush()
			c.advance(time.Hour)
			again(r)
			r.none("b")
			done := r.decided("tx", spool.TransactionCommitted)
			again(r)
			if got, err := r.Transaction(t.Context(), "tx"); err != nil || got.State != spool.TransactionCommitted || !slices.Equal(got.Messages, tx.Messages) || !got.EndedAt.Equal(done.EndedAt) || got.DecidedBy != "test" {
				t.Fatalf("it is %+v, %v", got, err)
			}
			if got, err := r.Receipt(t.Context(), tx.Messages[2]); err != nil || got.State != message.StateDelayed {
				t.Fatalf("the message with a delay is %+v, %v", got, err)
			}
			if l := r.lease("b", 0); len(l) != 1 || l[0].ID != tx.Messages[1] || !strings.HasPrefix(string(l[0].Body), "2 large") || l[0].TopicSeq != 1 {
				t.Fatalf("leased %q", bodies(l))
			}
			r.pass(c, time.Hour, 0)
			got := r.leaseAll("a")
			for i, id := range []message.ID{tx.Messages[0], tx.Messages[3], tx.Messages[2]} {
				at := slices.IndexFunc(got, func(l *spool.Lease) bool { return l.ID == id })
				if at < 0 || got[at].TopicSeq != uint64(3+i) {
					t.Fatalf("leased %q; %s has another number or is not there", bodies(got), id)
				}
			}
			if n := r.balanced().Ledger.Total; n.Accepted != 6 || n.InSpool.Half != 0 {
				t.Fatalf("the ledger is %+v", n)
			}
		})
	}
}

func TestRolledBackTransactionIsNeverForwarded(t *testing.T) {
	for name, again := range restarts() {
		t.Run(name, func(t *testing.T) {
			r, _ := timed(t, spool.Options{})
			d := prepared("tx", draft("a", "1"), bulky(draft("b", "2")), after(draft("a", "3"), time.Hour))
			d.Key = "key"
			tx, _ := r.prepare(d)
			again(r)
			r.decided("tx", spool.TransactionRolledBack)
			again(r)
			r.are(tx.Messages, message.StateRolledBack)
			if n := r.balanced().Ledger.Total; n.RolledBack != 3 || n.InSpool.Held() != 0 || n.Bytes != 0 || n.Accepted != 3 {
				t.Fatalf("the ledger is %+v", n)
			}
			d.ID = "another" // under the same key, which is free again
			r.prepare(d)
			r.decided("another", spool.TransactionCommitted)
			if got := r.decided("tx", spool.TransactionRolledBack); got.ID != "tx" {
				t.Fatalf("%+v", got)
			}
			r.balanced()
		})
	}
}

// A decision stands, whoever asks again; the opposite is refused with it, and an
// unknown ID is told apart.
func TestDecisionStands(t *testing.T) {
	for name, again := range restarts() {
		for to, opposite := range map[spool.TransactionState]spool.TransactionState{
			spool.TransactionCommitted: spool.TransactionRolledBack, spool.TransactionRolledBack: spool.TransactionCommitted,
		} {
			t.Run(fmt.Sprint(name, ", ", to), func(t *testing.T) {
				r, _ := timed(t, spool.Options{})
				tx, _ := r.prepare(prepared("tx", draft("a", "1"), draft("b", "2")))
				first := r.decided("tx", to)
				again(r)
				if second := r.decided("tx", to); !second.EndedAt.Equal(first.EndedAt) {
					t.Errorf("decided at %v, and again at %v", first.EndedAt, second.EndedAt)
				}
				stands := &spool.DecidedError{}
				if got, err := r.decide("tx", opposite); !errors.Is(err, spool.ErrDecided) || !errors.As(err, &stands) || stands.Stands != to || got.State != to {
					t.Errorf("the opposite: %+v, %v", got, err)
				}
				if got, err := r.Undecide(t.Context(), "tx", "test"); err != nil || got.State != to {
					t.Errorf("undecided: %+v, %v", got, err)
				}
				if _, err := r.decide("other", to); !errors.Is(err, spool.ErrNoTransaction) {
					t.Errorf("an unknown ID: %v", err)
				}
				if _, err := r.Transaction(t.Context(), "other"); !errors.Is(err, spool.ErrNoTransaction) {
					t.Errorf("an unknown ID: %v", err)
				}
				want := map[bool]message.State{true: message.StatePending, false: message.StateRolledBack}[to == spool.TransactionCommitted]
				r.are(tx.Messages, want)
				r.balanced()
			})
		}
	}
}

// An ID or a key is one transaction, however often it is prepared.
func TestPrepareAgain(t *testing.T) {
	for name, again := range restarts() {
		t.Run(name, func(t *testing.T) {
			r, _ := timed(t, spool.Options{})
			d := prepared("", draft("a", "1"), draft("b", "2"))
			d.Key = "key"
			first, _ := r.prepare(d)
			again(r)
			same, receipts, err := r.Prepare(t.Context(), d)
			if err != nil || !same.Duplicate || same.ID != first.ID || !slices.Equal(same.Messages, first.Messages) || len(receipts) != 2 || receipts[0].State != message.StateHalf {
				t.Fatalf("again: %+v, %v, %v", same, receipts, err)
			}
			other := d
			other.Fingerprint[0]++
			if _, _, err := r.Prepare(t.Context(), other); !errors.Is(err, spool.ErrKeyReused) {
				t.Errorf("other content: %v", err)
			}
			other = d
			other.ID = "chosen"
			if _, _, err := r.Prepare(t.Context(), other); !errors.Is(err, spool.ErrKeyReused) {
				t.Errorf("another ID: %v", err)
			}
			other.ID, other.Key = first.ID, ""
			if _, _, err := r.Prepare(t.Context(), other); !errors.Is(err, spool.ErrTransactionExists) {
				t.Errorf("another's ID: %v", err)
			}
			other.Key = "another key"
			if _, _, err := r.Prepare(t.Context(), other); !errors.Is(err, spool.ErrTransactionExists) {
				t.Errorf("another's ID, under a key: %v", err)
			}
			r.decided(first.ID, spool.TransactionCommitted)
			again(r)
			same, receipts, err = r.Prepare(t.Context(), d)
			if err != nil || same.State != spool.TransactionCommitted || receipts[1].State != message.StatePending {
				t.Fatalf("when it is committed: %+v, %v, %v", same, receipts, err)
			}
			chosen := prepared("chosen", draft("a", "3"))
			r.prepare(chosen)
			r.decided("chosen", spool.TransactionRolledBack)
			if _, _, err := r.Prepare(t.Context(), chosen); !errors.Is(err, spool.ErrDecided) {
				t.Errorf("when it is rolled back: %v", err)
			}
			if n := r.balanced().Ledger.Total; n.Accepted != 3 {
				t.Errorf("the ledger is %+v", n)
			}
		})
	}
}

// What cannot be stored as a whole is not stored, and leaves nothing.
func TestPrepareIsAllOrNothing(t *testing.T) {
	r, _ := timed(t, spool.Options{MaxTopics: 1, Limit: 1 << 20})
	if _, _, err := r.Prepare(t.Context(), prepared("many topics", draft("a", "1"), draft("b", "2"))); !errors.Is(err, spool.ErrTooManyTopics) {
		t.Errorf("many topics: %v", err)
	}
	large := make([]spool.Draft, 12)
	for i := range large {
		large[i] = bulky(draft("a", fmt.Sprint(i)))
	}
	if _, _, err := r.Prepare(t.Context(), prepared("large", large...)); !errors.Is(err, spool.ErrTooLarge) {
		t.Errorf("large: %v", err)
	}
	for _, id := range []string{"many topics", "large"} {
		if _, err := r.Transaction(t.Context(), id); !errors.Is(err, spool.ErrNoTransaction) {
			t.Errorf("%s: %v", id, err)
		}
		r.prepare(prepared(id, draft("a", id))) // the name is free
	}
	if n := r.balanced().Ledger.Total; n.Accepted != 2 {
		t.Errorf("the ledger is %+v", n)
	}
}

// Whoever is told that a transaction is prepared can decide it: either decision fits into
// one commit.
func TestWhatIsPreparedCanBeDecided(t *testing.T) {
	r := newRigOn(t, spool.Options{}, kv.Options{MemTableSize: 1 << 20, MaxCommit: 24 << 10})
	refused := 0
	for n := 1; refused < 10; n++ {
		var drafts []spool.Draft
		for i := range n {
			drafts = append(drafts, draft(fmt.Sprint("topic ", i%3), strings.Repeat("b", n)))
		}
		for to, id := range map[spool.TransactionState]string{spool.TransactionCommitted: fmt.Sprint("c", n), spool.TransactionRolledBack: fmt.Sprint("r", n)} {
			switch _, _, err := r.Prepare(t.Context(), prepared(id, drafts...)); {
			case err == nil:
				r.decided(id, to)
			case errors.Is(err, spool.ErrTooLarge):
				refused++
			default:
				t.Fatal(err)
			}
		}
	}
}

// Who names a transaction, and cannot wait, is not told that it is not prepared: a former
// call may have.
func TestPrepareThatCannotWait(t *testing.T) {
	r, _ := timed(t, spool.Options{})
	r.prepare(prepared("tx", draft("a", "1")))
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, _, err := r.Prepare(ctx, prepared("tx", draft("a", "1"))); !errors.Is(err, spool.ErrUnknown) {
		t.Errorf("by ID: %v", err)
	}
	if _, _, err := r.Prepare(ctx, prepared("", draft("a", "1"))); err == nil || errors.Is(err, spool.ErrUnknown) {
		t.Errorf("without a name: %v", err)
	}
}

// A message that is cancelled while it is half is missing from its transaction; what
// is undecided is decided as a whole.
func TestHalfMessagesAreCancelled(t *testing.T) {
	r, _ := timed(t, spool.Options{})
	tx, _ := r.prepare(prepared("tx", draft("a", "1"), bulky(draft("a", "2")), draft("a", "3")))
	if got, err := r.Cancel(t.Context(), tx.Messages[1]); err != nil || got.State != message.StateCancelled {
		t.Fatalf("cancelled %+v, %v", got, err)
	}
	if _, err := r.Hold(t.Context(), tx.Messages[0]); !errors.Is(err, spool.ErrWrongState) {
		t.Errorf("hold: %v", err)
	}
	if _, err := r.RetryNow(t.Context(), tx.Messages[0]); !errors.Is(err, spool.ErrWrongState) {
		t.Errorf("retry: %v", err)
	}
	r.kill()
	if got, err := r.Undecide(t.Context(), "tx", "test"); err != nil || got.State != spool.TransactionUndecided {
		t.Fatalf("undecided %+v, %v", got, err)
	}
	r.kill()
	r.are([]message.ID{tx.Messages[0], tx.Messages[2]}, message.StateUndecided)
	if _, err := r.Cancel(t.Context(), tx.Messages[0]); !errors.Is(err, spool.ErrWrongState) {
		t.Errorf("cancel: %v", err)
	}
	page, err := r.List(t.Context(), spool.Query{States: []message.State{message.StateUndecided}})
	if err != nil || len(page.Items) != 2 {
		t.Errorf("listed %+v, %v", page, err)
	}
	if n := r.TransactionCounts(); n.Undecided != 1 || n.Half != 0 {
		t.Errorf("counted %+v", n)
	}
	r.balanced()
	r.decided("tx", spool.TransactionCommitted)
	r.kill()
	if got := bodies(r.leaseSome("a", 2)); !slices.Equal(got, []string{"1", "3"}) {
		t.Errorf("leased %q", got)
	}
	r.balanced()
}

// Many calls for one transaction: one decision, and the forwarder never sees a part.
func TestDecisionsMeet(t *testing.T) {
	r, _ := timed(t, spool.Options{})
	const n = 40
	for i := range n {
		id := fmt.Sprint("tx ", i)
		r.prepare(prepared(id, draft("a", id), draft("b", id)))
	}
	committed := make(chan string, 2*n)
	ended := make(chan struct{}, 2*n)
	for i := range 2 * n {
		go func() {
			defer func() { ended <- struct{}{} }()
			id := fmt.Sprint("tx ", i/2)
			to := []spool.TransactionState{spool.TransactionCommitted, spool.TransactionRolledBack}[i%2]
			got, err := r.decide(id, to)
			switch {
			case err == nil && to == spool.TransactionCommitted:
				committed <- id
			case err != nil && !errors.Is(err, spool.ErrDecided):
				t.Errorf("%s: %+v, %v", id, got, err)
			}
		}()
	}
	for range 2 * n {
		<-ended
	}
	close(committed)
	want := map[string]bool{}
	for id := range committed {
		want[id] = true
	}
	for _, topic := range []string{"a", "b"} {
		got := r.leaseSome(topic, len(want))
		for _, l := range got {
			if !want[string(l.Body)] {
				t.Errorf("%s was rolled back, and is forwarded", l.Body)
			}
		}
	}
	if led := r.balanced().Ledger.Total; led.RolledBack != uint64(2*(n-len(want))) || led.InSpool.Half != 0 {
		t.Errorf("%d were committed, the ledger is %+v", len(want), led)
	}
}

// What is decided is kept as long as receipts and keys are, then forgotten.
func TestDecidedTransactionsAreForgotten(t *testing.T) {
	r, c := timed(t, spool.Options{ReceiptsKeep: time.Hour, DedupeWindow: 2 * time.Hour, ReceiptsMax: 3})
	d := prepared("old", draft("a", "1"))
	d.Key = "key"
	r.prepare(d)
	r.decided("old", spool.TransactionCommitted)
	r.prepare(prepared("open", draft("a", "2")))
	r.confirm(r.leaseSome("a", 1))
	r.Flush()
	c.advance(2*time.Hour - time.Minute)
	r.expire()
	r.knows("old", true)
	c.advance(2 * time.Minute)
	r.expire()
	r.knows("old", false)
	d.ID = "new"
	r.prepare(d)
	for i := range 5 {
		id := fmt.Sprint(i)
		r.prepare(prepared(id, draft("a", id)))
		r.decided(id, spool.TransactionRolledBack)
		c.advance(time.Second)
	}
	r.expire()
	r.knows("0", true) // there are too many; it may be asked for again yet
	c.advance(15 * time.Minute)
	r.expire()
	page, err := r.Transactions(t.Context(), []spool.TransactionState{spool.TransactionRolledBack}, "", 100)
	if err != nil || len(page.Items) != 3 || page.Items[0].ID != "2" {
		t.Errorf("kept are %+v, %v", page.Items, err)
	}
	r.kill()
	if n := r.TransactionCounts(); n != (spool.TransactionCounts{Half: 2, Decided: 3}) {
		t.Errorf("counted %+v", n)
	}
	r.balanced()
}

// As long as a message of a transaction is held, who asks again is told what was
// decided, and prepares nothing a second time.
func TestTransactionIsKnownWhileItsMessagesAreHeld(t *testing.T) {
	r, c := timed(t, spool.Options{ReceiptsKeep: time.Hour, DedupeWindow: time.Hour, ReceiptsMax: 1})
	d := prepared("tx", draft("a", "1"), draft("b", "2"))
	d.Key = "key"
	r.prepare(d)
	r.decided("tx", spool.TransactionCommitted)
	r.prepare(prepared("other", draft("c", "3")))
	r.decided("other", spool.TransactionRolledBack)
	for range 3 {
		c.advance(2 * time.Hour)
		r.expire()
	}
	r.knows("other", false)
	r.kill()
	if again, _, err := r.Prepare(t.Context(), d); err != nil || !again.Duplicate || again.State != spool.TransactionCommitted {
		t.Fatalf("prepared again: %+v, %v", again, err)
	}
	r.confirm(r.leaseSome("a", 1))
	r.Flush()
	c.advance(2 * time.Hour)
	r.expire()
	r.knows("tx", true)
	r.confirm(r.leaseSome("b", 1))
	r.Flush()
	c.advance(2 * time.Hour)
	r.expire()
	r.knows("tx", false)
	r.kill()
	if n := r.TransactionCounts(); n != (spool.TransactionCounts{}) {
		t.Errorf("counted %+v", n)
	}
	r.balanced()
}

// knows fails the test unless something, or nothing, is known of a transaction.
func (r *rig) knows(id string, want bool) {
	r.t.Helper()
	if _, err := r.Transaction(context.Background(), id); want && err != nil || !want && !errors.Is(err, spool.ErrNoTransaction) {
		r.t.Fatalf("transaction %s: %v", id, err)
	}
}

func TestTransactionsAreListed(t *testing.T) {
	r, _ := timed(t, spool.Options{})
	var want []string
	for i := range 7 {
		id := fmt.Sprint(i)
		r.prepare(prepared(id, draft("a", id)))
		if i%3 == 1 {
			r.decided(id, spool.TransactionCommitted)
			continue
		}
		want = append(want, id)
	}
	r.kill()
	var got []string
	for cursor, pages := "", 0; ; pages++ {
		page, err := r.Transactions(t.Context(), []spool.TransactionState{spool.TransactionHalf}, cursor, 2)
		if err != nil || pages > 10 {
			t.Fatal(err)
		}
		for _, x := range page.Items {
			got = append(got, x.ID)
		}
		if cursor = page.Next; cursor == "" {
			break
		}
	}
	if !slices.Equal(got, want) {
		t.Errorf("listed %q, want %q", got, want)
	}
	if _, err := r.Transactions(t.Context(), nil, "x", 2); !errors.Is(err, spool.ErrCursor) {
		t.Errorf("a strange cursor: %v", err)
	}
}
