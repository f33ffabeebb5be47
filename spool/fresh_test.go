package spool_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/remora-mq/remora/internal/kv"
	"github.com/remora-mq/remora/message"
	"github.com/remora-mq/remora/spool"
)

// What was prepared just now is decided without being read, so a decision waits for no
// commit but its own. Nothing that changes a transaction leaves what it was in memory,
// and neither do many that are open.
func TestFreshTransactionsAreDecidedUnread(t *testing.T) {
	r, _ := timed(t, spool.Options{})
	entries := func() (keys []string) {
		t.Helper()
		for _, prefix := range []string{"sp", "sy"} {
			err := r.db.Scan(kv.Scan{Prefix: []byte(prefix), KeysOnly: true}, func(k, _ []byte) (bool, error) {
				keys = append(keys, string(k))
				return true, nil
			})
			if err != nil {
				t.Fatal(err)
			}
		}
		return keys
	}
	unreadable := func(id string) { // on the disk
		t.Helper()
		before := entries()
		r.prepare(prepared(id, keyed("a", id, "k"), draft("b", id)))
		added := slices.DeleteFunc(entries(), func(key string) bool { return slices.Contains(before, key) })
		r.behind(func(tx *kv.Tx) {
			for _, key := range added {
				tx.Set([]byte(key), []byte{0})
			}
		})
	}
	unreadable("committed")
	if got := r.decided("committed", spool.TransactionCommitted); len(got.Receipts) != 2 || got.Receipts[0].State != message.StatePending {
		t.Errorf("committed %+v", got)
	}
	unreadable("rolled back")
	r.decided("rolled back", spool.TransactionRolledBack)
	if got := append(bodies(r.lease("a", 0)), bodies(r.lease("b", 0))...); !slices.Equal(got, []string{"committed", "committed"}) {
		t.Errorf("leased %q", got)
	}
	r.balanced()

	for name, change := range map[string]func(id string){
		"undecided": func(id string) {
			if _, err := r.Undecide(t.Context(), id, "test"); err != nil {
				t.Fatal(err)
			}
		},
		"checked": func(id string) {
			if err := r.CheckedInVain(t.Context(), id, spool.InVain{Brought: "nothing", Again: time.Hour, Counts: true}); err != nil {
				t.Fatal(err)
			}
			r.committed()
		},
		"adopted": func(string) {
			if _, err := r.AdoptTransactions(t.Context(), "http://127.0.0.1:2/tx"); err != nil {
				t.Fatal(err)
			}
		},
		"one of many": func(string) {
			large := draft("a", string(make([]byte, 48<<10)))
			for i := range spool.FreshBytes/len(large.Body) + 1 {
				r.prepare(prepared(fmt.Sprint("many ", i), large))
			}
		},
		"one of many small ones": func(string) {
			small := draft("a", "")
			for i := range spool.FreshBytes/spool.MaxCheckURL + 1 {
				d := prepared(fmt.Sprint("small ", i), small)
				d.Check.URL = "http://127.0.0.1:1/" + strings.Repeat("x", spool.MaxCheckURL-19)
				r.prepare(d)
			}
		},
	} {
		r.prepare(prepared(name, draft("a", name)))
		before := r.Fresh()
		change(name)
		if slices.Contains(r.Fresh(), name) {
			t.Errorf("%s: it is still in memory, beside %d others, of which there were %d", name, len(r.Fresh())-1, len(before)-1)
		}
	}
	r.balanced()
}

// A decision shares the commit of accepts that wait, however long what has no hurry
// does: else each decision would split a commit in two.
func TestDecisionsShareTheCommitOfAccepts(t *testing.T) {
	r := newRigOn(t, spool.Options{}, kv.Options{LazyDelay: time.Hour})
	r.prepare(prepared("tx", draft("a", "1")))
	r.accept(draft("b", "2"))
	leases := r.lease("b", 1)
	done := make(chan error, 2)
	goOn := r.occupy()
	r.confirm(leases)
	go func() {
		_, err := r.Append(t.Context(), []spool.Draft{draft("a", "3")})
		done <- err
	}()
	r.queued(2)
	go func() {
		_, err := r.CommitTransaction(t.Context(), "tx", "test")
		done <- err
	}()
	r.queued(3)
	before := r.db.Stats().Commits
	goOn()
	for range 2 {
		if err := <-done; err != nil {
			t.Error(err)
		}
	}
	if n := r.db.Stats().Commits - before; n != 2 {
		t.Errorf("%d commits, want that which was under way, and one of the accept and the decision", n)
	}
}

// What waits has entries of its own, and does not cut the run of the other messages of
// a commit, which share a block.
func TestWhatWaitsLeavesTheOthersInOneBlock(t *testing.T) {
	r := newRigOn(t, spool.Options{}, kv.Options{LazyDelay: time.Hour})
	for _, id := range []string{"1", "3"} {
		r.prepare(prepared(id, draft("a", id)))
	}
	done := make(chan error)
	one := func(do func() error) func(n int) {
		return func(n int) {
			go func() { done <- do() }()
			r.queued(n)
		}
	}
	decided := func(id string) func(int) {
		return one(func() error { _, err := r.CommitTransaction(t.Context(), id, "test"); return err })
	}
	half := func(id string) func(int) {
		return one(func() error { _, _, err := r.Prepare(t.Context(), prepared(id, draft("a", id))); return err })
	}
	accepted := func(drafts ...spool.Draft) func(int) {
		return one(func() error { _, err := r.Append(t.Context(), drafts); return err })
	}
	before, goOn := len(r.find("sm")), r.occupy()
	all := []func(int){
		decided("1"), half("h1"), accepted(draft("a", "2"), after(draft("a", "late"), time.Hour)), half("h2"), decided("3"),
		accepted(after(draft("a", "late too"), time.Hour), draft("a", "4")),
	}
	for i, queue := range all {
		queue(i + 1)
	}
	goOn()
	for range all {
		if err := <-done; err != nil {
			t.Error(err)
		}
	}
	if n := len(r.find("sm")) - before; n != 1 {
		t.Errorf("the messages take %d blocks", n)
	}
	leases := r.lease("a", 0)
	if len(leases) != 4 {
		t.Errorf("%d messages can be leased, want 4", len(leases))
	}
	for i, l := range leases {
		if want := strconv.Itoa(i + 1); string(l.Body) != want || l.TopicSeq != uint64(i+1) {
			t.Errorf("message %d is %q, number %d", i+1, l.Body, l.TopicSeq)
		}
	}
	r.balanced()
}

// What is not in memory is read: by its key where there are few topics, by an iterator
// where there are many.
func TestHalfMessagesAreReadAmongFewTopicsAndMany(t *testing.T) {
	for _, topics := range []int{1, spool.MostLanes, spool.MostLanes + 1} {
		t.Run(fmt.Sprint(topics, " topics"), func(t *testing.T) {
			r := newRig(t, spool.Options{})
			for i := range topics {
				r.prepare(prepared(fmt.Sprint("tx", i), draft(fmt.Sprint("t", i), "x"), after(draft("t0", "later"), time.Hour)))
			}
			r.reopen()
			for i := range topics {
				id := fmt.Sprint("tx", i)
				if x, err := r.CommitTransaction(t.Context(), id, "test"); err != nil || len(x.Receipts) != 2 || x.Receipts[0].State != message.StatePending {
					t.Errorf("%s: %+v, %v", id, x, err)
				}
				if l := r.lease(fmt.Sprint("t", i), 0); len(l) != 1 {
					t.Errorf("%s: %d messages can be leased", id, len(l))
				}
			}
			r.balanced()
		})
	}
}

// What is refused may repeat what is known: that is told of all the same. Where the
// disk does not answer it is not known whether it does, unless no name was chosen.
func TestRefusedPrepareMayRepeatAnother(t *testing.T) {
	r := newRigOn(t, spool.Options{Limit: 4 << 10}, kv.Options{LazyDelay: time.Hour})
	known := prepared("known", draft("a", strings.Repeat("x", 3<<10)))
	first, _ := r.prepare(known)
	if got, receipts, err := r.Prepare(t.Context(), known); err != nil || !got.Duplicate || got.Messages[0] != first.Messages[0] || len(receipts) != 1 {
		t.Errorf("again, when the spool is full: %+v, %v", got, err)
	}
	if _, _, err := r.Prepare(t.Context(), prepared("new", known.Messages[0])); !errors.Is(err, spool.ErrFull) || errors.Is(err, spool.ErrUnknown) {
		t.Errorf("another, when the spool is full: %v", err)
	}

	goOn := r.occupy()
	for id, unknown := range map[string]bool{"chosen": true, "": false} {
		ctx, cancel := context.WithCancel(t.Context())
		answer := make(chan error, 1)
		go func() {
			_, _, err := r.Prepare(ctx, prepared(id, draft("a", "small")))
			answer <- err
		}()
		r.queued(1)
		cancel()
		if err := <-answer; !errors.Is(err, context.Canceled) || errors.Is(err, spool.ErrUnknown) != unknown {
			t.Errorf("withdrawn, with the ID %q: %v", id, err)
		}
		r.queued(0)
	}
	goOn()
	if _, err := r.Transaction(t.Context(), "chosen"); !errors.Is(err, spool.ErrNoTransaction) {
		t.Errorf("what was withdrawn is known: %v", err)
	}
	r.prepare(prepared("chosen", draft("a", "small")))
	r.balanced()
}

// A decision that is withdrawn is not made, and made when it is asked for again.
func TestDecisionIsWithdrawn(t *testing.T) {
	r := newRigOn(t, spool.Options{}, kv.Options{LazyDelay: time.Hour})
	for _, id := range []string{"1", "2"} { // one that is in memory, and one that is read
		r.prepare(prepared(id, draft("a", id)))
		if id == "2" {
			r.reopen()
		}
		goOn := r.occupy()
		ctx, cancel := context.WithCancel(t.Context())
		answer := make(chan error, 1)
		go func() {
			_, err := r.RollBackTransaction(ctx, id, "test")
			answer <- err
		}()
		r.queued(1)
		cancel()
		if err := <-answer; !errors.Is(err, context.Canceled) || !errors.Is(err, spool.ErrUnknown) {
			t.Errorf("withdrawn: %v", err)
		}
		r.queued(0) // who reads for a decision withdraws it after its caller was told
		goOn()
		if got, err := r.Transaction(t.Context(), id); err != nil || got.State != spool.TransactionHalf {
			t.Errorf("after that: %+v, %v", got, err)
		}
		r.decided(id, spool.TransactionCommitted)
	}
	r.balanced()
}

// Who gives up waiting for a decision that is being written is told nothing of it: the
// commit still changes what it read.
func TestDecisionBeingWrittenTellsNothing(t *testing.T) {
	r := newRigOn(t, spool.Options{}, kv.Options{LazyDelay: time.Hour})
	r.prepare(prepared("tx", draft("a", "1")))
	before := r.occupy()
	ctx, cancel := context.WithCancel(t.Context())
	type answer struct {
		told spool.Transaction
		err  error
	}
	answered := make(chan answer, 1)
	go func() {
		told, err := r.RollBackTransaction(ctx, "tx", "test")
		answered <- answer{told, err}
	}()
	r.queued(1)
	written, goOn, done := make(chan struct{}), make(chan struct{}), make(chan error, 1)
	go func() {
		done <- r.attach().Commit(t.Context(), func(*kv.Tx) { close(written); <-goOn }, 1<<10)
	}()
	r.queued(2)
	before()
	<-written // by the spool, which was attached first
	cancel()
	if a := <-answered; !errors.Is(a.err, spool.ErrUnknown) || a.told.ID != "" || a.told.State != 0 {
		t.Errorf("told %+v, %v", a.told, a.err)
	}
	close(goOn)
	if err := <-done; err != nil {
		t.Error(err)
	}
	if got, err := r.Transaction(t.Context(), "tx"); err != nil || got.State != spool.TransactionRolledBack {
		t.Errorf("after that: %+v, %v", got, err)
	}
	r.balanced()
}

// occupy holds the committer until goOn is called.
func (r *rig) occupy() (goOn func()) {
	r.t.Helper()
	held, release, done := make(chan struct{}), make(chan struct{}), make(chan error, 1)
	go func() {
		done <- r.attach().Commit(context.Background(), func(*kv.Tx) { close(held); <-release }, 1<<10)
	}()
	<-held
	return func() {
		r.t.Helper()
		close(release)
		if err := <-done; err != nil {
			r.t.Error(err)
		}
	}
}

// A decision that reads is not waited for longer than its caller does, and what it
// found is not another call's until it has ended.
func TestDecisionIsNotWaitedFor(t *testing.T) {
	r, _ := timed(t, spool.Options{})
	r.prepare(prepared("tx", draft("a", "1")))
	r.reopen()
	ctx, cancel := context.WithCancel(t.Context())
	began, goOn, answer := make(chan struct{}), make(chan struct{}), make(chan error, 1)
	go func() { answer <- r.ChangeBy(ctx, "tx", began, goOn) }()
	<-began
	cancel()
	if err := <-answer; !errors.Is(err, context.Canceled) || !errors.Is(err, spool.ErrUnknown) {
		t.Errorf("given up: %v", err)
	}
	close(goOn)
	r.decided("tx", spool.TransactionCommitted)
	r.balanced()
}
