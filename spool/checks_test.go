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

// dueChecks waits for check-backs that are due.
func (r *rig) dueChecks(most int) (ids []string) {
	r.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	all, err := r.DueChecks(ctx, most)
	if err != nil {
		r.t.Fatal(err)
	}
	for _, x := range all {
		ids = append(ids, x.ID)
	}
	return ids
}

// noChecks fails the test when one is due.
func (r *rig) noChecks() {
	r.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Millisecond)
	defer cancel()
	if all, err := r.DueChecks(ctx, 10); !errors.Is(err, context.DeadlineExceeded) {
		r.t.Fatalf("%d check-backs are due (%v), want none", len(all), err)
	}
}

// Check-backs are due when the schedule says so, in order, each once; that is kept
// over a restart, and so is how many there were.
func TestCheckBacksAreDue(t *testing.T) {
	for name, again := range restarts() {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r, c := timed(t, spool.Options{})
			r.prepare(prepared("first", draft("a", "1")))
			c.advance(time.Second)
			late := prepared("late", draft("a", "2"))
			late.Check.After = time.Hour
			r.prepare(late)
			r.prepare(prepared("second", draft("a", "3")))
			again(r)
			r.noChecks()
			c.advance(time.Minute)
			if got := slices.Concat(r.dueChecks(1), r.dueChecks(10)); !slices.Equal(got, []string{"first", "second"}) {
				t.Fatalf("due are %q", got)
			}
			r.noChecks()
			if err := r.CheckedInVain(t.Context(), "first", spool.InVain{Brought: "500 no", Again: 2 * time.Minute, Counts: true}); err != nil {
				t.Fatal(err)
			}
			r.decided("second", spool.TransactionCommitted)
			if err := r.CheckedInVain(t.Context(), "second", spool.InVain{Again: time.Minute}); err != nil {
				t.Fatal(err)
			}
			again(r)
			got, err := r.Transaction(t.Context(), "first")
			if err != nil || got.Checks != 1 || got.LastCheck != "500 no" || !got.NextCheckAt.Equal(c.now().Add(2*time.Minute)) {
				t.Fatalf("it is %+v, %v", got, err)
			}
			c.advance(2*time.Minute - time.Millisecond)
			r.noChecks()
			c.advance(time.Millisecond)
			if got := r.dueChecks(10); !slices.Equal(got, []string{"first"}) {
				t.Fatalf("due are %q", got)
			}
			c.advance(time.Hour)
			if got := r.dueChecks(10); !slices.Equal(got, []string{"late"}) {
				t.Fatalf("due are %q", got)
			}
			r.balanced()
		})
	}
}

// One that is prepared while somebody waits for the next is told to him.
func TestCheckBackThatIsDueSooner(t *testing.T) {
	r, c := timed(t, spool.Options{})
	late := prepared("late", draft("a", "1"))
	late.Check.After = time.Hour
	r.prepare(late)
	r.noChecks()
	got := make(chan []string)
	go func() { got <- r.dueChecks(1) }()
	now := prepared("now", draft("a", "2"))
	now.Check.After = 0
	r.prepare(now)
	if ids := <-got; !slices.Equal(ids, []string{"now"}) {
		t.Errorf("due are %q", ids)
	}
	c.advance(time.Hour)
	if ids := r.dueChecks(1); !slices.Equal(ids, []string{"late"}) {
		t.Errorf("due are %q", ids)
	}
}

// What falls due between the look for it and the sleep until the next is not slept over:
// that sleep would be one of an hour, from which nothing that is due later wakes.
func TestWhatFallsDueBeforeTheSleepIsNotSleptOver(t *testing.T) {
	for name, due := range map[string]func(r *rig, id string, in time.Duration){
		"check": func(r *rig, id string, in time.Duration) {
			x := prepared(id, draft("a", id))
			x.Check.After = in
			r.prepare(x)
			if got := r.dueChecks(1); !slices.Equal(got, []string{id}) {
				r.t.Fatalf("due are %q, want %q", got, id)
			}
		},
		"end": func(r *rig, id string, in time.Duration) {
			r.prepareAtBroker(id, draft("t", id))
			r.decided(id, spool.TransactionRolledBack)
			r.dueEnd(false)
			if err := r.EndHalfAgain(t.Context(), id, "busy", in); err != nil {
				r.t.Fatal(err)
			}
			r.dueEnd(false)
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			c := newClock()
			began := c.now()
			r := newRig(t, spool.Options{Now: c.now, Elapsed: func() time.Duration {
				c.advance(10 * time.Millisecond) // as much may pass on a busy machine before somebody looks again
				return c.now().Sub(began)
			}})
			for n := range 15 {
				due(r, fmt.Sprint("tx ", n), time.Duration(7*n)*time.Millisecond)
			}
		})
	}
}

// What asking did not decide is undecided: kept, never guessed, and decided later.
func TestUndecidedTransactionsAreKept(t *testing.T) {
	for name, again := range restarts() {
		t.Run(name, func(t *testing.T) {
			r, c := timed(t, spool.Options{})
			for _, id := range []string{"tx", "other"} {
				r.prepare(prepared(id, draft("a", id)))
				if got, err := r.Undecide(t.Context(), id, "15 check-backs"); err != nil || got.State != spool.TransactionUndecided || got.DecidedBy != "15 check-backs" {
					t.Fatalf("undecided %+v, %v", got, err)
				}
			}
			c.advance(10000 * time.Hour)
			again(r)
			r.noChecks()
			if err := r.Expire(); err != nil {
				t.Fatal(err)
			}
			if n := r.balanced().Ledger.Total; n.InSpool.Half != 2 || r.TransactionCounts() != (spool.TransactionCounts{Undecided: 2}) {
				t.Fatalf("the ledger is %+v, %+v", n, r.TransactionCounts())
			}
			r.decided("tx", spool.TransactionCommitted)
			r.decided("other", spool.TransactionRolledBack)
			if got := bodies(r.lease("a", 0)); !slices.Equal(got, []string{"tx"}) {
				t.Errorf("leased %q", got)
			}
			r.balanced()
		})
	}
}

// Who takes over a spool asks elsewhere, or nobody.
func TestTransactionsAreAdopted(t *testing.T) {
	for url, want := range map[string]spool.TransactionState{"": spool.TransactionUndecided, "http://127.0.0.1:2/tx": spool.TransactionHalf} {
		t.Run(fmt.Sprintf("%q", url), func(t *testing.T) {
			t.Parallel()
			r, c := timed(t, spool.Options{})
			tx, _ := r.prepare(prepared("tx", draft("a", "1"), draft("b", "2")))
			r.prepare(prepared("done", draft("a", "3")))
			r.decided("done", spool.TransactionCommitted)
			r.kill()
			if n, err := r.AdoptTransactions(t.Context(), url); err != nil || n != 1 {
				t.Fatalf("adopted %d, %v", n, err)
			}
			r.kill()
			got, err := r.Transaction(t.Context(), "tx")
			if err != nil || got.State != want || want == spool.TransactionHalf && got.Check.URL != url {
				t.Fatalf("it is %+v, %v", got, err)
			}
			r.are(tx.Messages, map[bool]message.State{true: message.StateUndecided, false: message.StateHalf}[url == ""])
			if c.advance(time.Minute); url != "" {
				if got := r.dueChecks(10); !slices.Equal(got, []string{"tx"}) {
					t.Errorf("due are %q", got)
				}
			}
			r.noChecks()
			r.balanced()
		})
	}
}

// Who takes over asks as often as if it had been prepared now, and after as long.
func TestAdoptedTransactionsAreAskedForAnew(t *testing.T) {
	r, c := timed(t, spool.Options{})
	r.prepare(prepared("tx", draft("a", "1")))
	c.advance(time.Minute)
	r.dueChecks(1)
	if err := r.CheckedInVain(t.Context(), "tx", spool.InVain{Brought: strings.Repeat("ä", 5000), Again: time.Hour, Counts: true}); err != nil {
		t.Fatal(err)
	}
	r.flush()
	r.kill()
	if got, err := r.Transaction(t.Context(), "tx"); err != nil || got.Checks != 1 || len(got.LastCheck) != 200 {
		t.Fatalf("it is %+v, %v", got, err)
	}
	if n, err := r.AdoptTransactions(t.Context(), "http://127.0.0.1:2/tx"); err != nil || n != 1 {
		t.Fatalf("adopted %d, %v", n, err)
	}
	c.advance(time.Minute - time.Millisecond)
	r.noChecks()
	c.advance(time.Millisecond)
	if got := r.dueChecks(10); !slices.Equal(got, []string{"tx"}) {
		t.Errorf("due are %q", got)
	}
	if got, err := r.Transaction(t.Context(), "tx"); err != nil || got.Checks != 0 {
		t.Errorf("it is %+v, %v", got, err)
	}
	r.balanced()
}

// Whoever takes over can decide what was prepared, however long its URL is: one that takes
// more than there is room for is refused before any transaction has it.
func TestAdoptedTransactionsCanBeDecided(t *testing.T) {
	r := newRigOn(t, spool.Options{}, kv.Options{MemTableSize: 1 << 20, MaxCommit: 24 << 10})
	decisions := map[string]spool.TransactionState{}
	for n := 1; ; n++ {
		largest := true
		for to, id := range map[spool.TransactionState]string{spool.TransactionCommitted: fmt.Sprint("c", n), spool.TransactionRolledBack: fmt.Sprint("r", n)} {
			_, _, err := r.Prepare(t.Context(), prepared(id, repeat(n, draft("t", strings.Repeat("b", 100)))...))
			switch {
			case err == nil:
				decisions[id], largest = to, false
			case !errors.Is(err, spool.ErrTooLarge):
				t.Fatal(err)
			}
		}
		if largest {
			break
		}
	}
	url := "http://127.0.0.1:2/" + strings.Repeat("x", spool.MaxCheckURL-19)
	if n, err := r.AdoptTransactions(t.Context(), url+"x"); err == nil || n != 0 {
		t.Errorf("adopted %d under a URL that is too long: %v", n, err)
	}
	if n, err := r.AdoptTransactions(t.Context(), url); err != nil || n != len(decisions) || n == 0 {
		t.Fatalf("adopted %d of %d, %v", n, len(decisions), err)
	}
	for id, to := range decisions {
		if got := r.decided(id, to); got.Check.URL != url {
			t.Errorf("%s is asked for at %q", id, got.Check.URL)
		}
	}
	r.balanced()
}

// A commit moves messages, and waits for room to spare; a rollback needs none.
func TestCommitNeedsRoomToSpare(t *testing.T) {
	v := &volume{}
	r := newRig(t, spool.Options{Space: v})
	for _, id := range []string{"committed", "rolled back"} {
		r.prepare(prepared(id, draft("a", id)))
	}
	v.spent.Store(true)
	if _, err := r.decide("committed", spool.TransactionCommitted); !errors.Is(err, spool.ErrDiskLow) {
		t.Errorf("committed without room: %v", err)
	}
	r.decided("rolled back", spool.TransactionRolledBack)
	r.kill()
	if n := r.TransactionCounts(); n != (spool.TransactionCounts{Half: 1, Decided: 1}) {
		t.Errorf("there are %+v", n)
	}
	v.spent.Store(false)
	r.decided("committed", spool.TransactionCommitted)
	if got := bodies(r.lease("a", 0)); !slices.Equal(got, []string{"committed"}) {
		t.Errorf("leased %q", got)
	}
	r.balanced()
}

// Many calls that prepare under one key at once: one transaction.
func TestPreparesMeet(t *testing.T) {
	r, _ := timed(t, spool.Options{})
	for round := range 10 {
		d := prepared("", draft("a", "1"))
		d.Key = fmt.Sprint("key ", round)
		ids := make(chan string)
		for range 8 {
			go func() {
				got, _, err := r.Prepare(t.Context(), d)
				if err != nil {
					t.Error(err)
				}
				ids <- got.ID
			}()
		}
		first := <-ids
		for range 7 {
			if id := <-ids; id != first {
				t.Errorf("%s and %s have one key", first, id)
			}
		}
	}
	if n := r.balanced().Ledger.Total; n.Accepted != 10 {
		t.Errorf("the ledger is %+v", n)
	}
}
