package spool_test

import (
	"context"
	"errors"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/remora-mq/remora/internal/kv"
	"github.com/remora-mq/remora/message"
	"github.com/remora-mq/remora/spool"
)

// slowRig is a spool whose next commit can be held: it is written then, and not
// answered.
type slowRig struct {
	*rig
	armed         atomic.Bool
	held, release chan struct{}
	stalled       chan bool
}

func newSlowRig(t *testing.T, timeout time.Duration) *slowRig {
	t.Helper()
	return newSlowRigOn(t, spool.Options{}, timeout)
}

func newSlowRigOn(t *testing.T, opts spool.Options, timeout time.Duration) *slowRig {
	t.Helper()
	r := &slowRig{held: make(chan struct{}), release: make(chan struct{}), stalled: make(chan bool, 16)}
	r.rig = newRigOn(t, opts, kv.Options{
		SyncTimeout: timeout, OnStall: func(stalled bool) { r.stalled <- stalled },
		OnCommit: func(kv.CommitStats) {
			if r.armed.CompareAndSwap(true, false) {
				r.held <- struct{}{}
				<-r.release
			}
		},
	})
	return r
}

// offered is an Append whose caller can give up.
type offered struct {
	giveUp context.CancelFunc
	answer chan error
}

func (r *slowRig) offer(drafts ...spool.Draft) *offered {
	ctx, cancel := context.WithCancel(context.Background())
	o := &offered{cancel, make(chan error, 1)}
	s := r.Spool
	go func() {
		_, err := s.Append(ctx, drafts)
		o.answer <- err
	}()
	return o
}

func (o *offered) givenUp() error {
	o.giveUp()
	return <-o.answer
}

// queued waits until so many operations wait.
func (r *rig) queued(n int) {
	r.t.Helper()
	for deadline := time.Now().Add(30 * time.Second); r.db.Stats().Queued != n; time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			r.t.Fatalf("%d operations wait, want %d", r.db.Stats().Queued, n)
		}
	}
}

// chunks counts those on the disk.
func (r *slowRig) chunks() (n int) {
	r.t.Helper()
	err := r.db.Scan(kv.Scan{Prefix: []byte("sc"), KeysOnly: true}, func(_, _ []byte) (bool, error) {
		n++
		return true, nil
	})
	if err != nil {
		r.t.Fatal(err)
	}
	return n
}

// TestARefusalDoesNotUnsayAnotherCall: the message of a key that another call has
// brought may be stored by that one, whatever the repeat is refused for.
func TestARefusalDoesNotUnsayAnotherCall(t *testing.T) {
	r := newSlowRigOn(t, spool.Options{Limit: 5000}, time.Minute)
	r.armed.Store(true)
	filling := r.offer(draft("t", strings.Repeat("x", 4000)))
	<-r.held
	first := r.offer(under("k", draft("t", strings.Repeat("y", 400))))
	r.queued(1)
	for name, c := range map[string]struct {
		drafts  []spool.Draft
		unknown bool
	}{
		"the repeat":              {[]spool.Draft{under("k", draft("t", strings.Repeat("y", 1100)))}, true},
		"a batch with the repeat": {[]spool.Draft{under("k", draft("t", "y")), draft("t", strings.Repeat("x", 1100))}, true},
		"another":                 {[]spool.Draft{draft("t", strings.Repeat("x", 1100))}, false},
	} {
		_, err := r.Append(t.Context(), c.drafts)
		if !errors.Is(err, spool.ErrFull) || isUnknown(err) != c.unknown {
			t.Errorf("%s: %v, want full, unknown %t", name, err, c.unknown)
		}
	}
	close(r.release)
	if err := errors.Join(<-filling.answer, <-first.answer); err != nil {
		t.Error(err)
	}
}

func isUnknown(err error) bool { return errors.Is(err, spool.ErrUnknown) }

// TestAnswersOfADiskThatDoesNotAnswer: false is only said of what can never be
// stored, and everything that waited is refused before it piles up.
func TestAnswersOfADiskThatDoesNotAnswer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) { // the time-out passes while all wait, and never while a sync is slow
		r := newSlowRig(t, 50*time.Millisecond)
		r.accept(under("old", draft("t", "old")))
		r.armed.Store(true)
		first := r.offer(under("k", draft("t", "first")))
		<-r.held
		waiting := r.offer(draft("t", "waits"))
		r.queued(1)
		if err := waiting.givenUp(); !errors.Is(err, context.Canceled) || isUnknown(err) {
			t.Errorf("what waited is answered %v", err)
		}
		r.queued(0)
		if err := first.givenUp(); !isUnknown(err) {
			t.Errorf("what is in the commit is answered %v", err)
		}
		if !<-r.stalled {
			t.Fatal("told of an end")
		}
		for name, c := range map[string]struct {
			draft   spool.Draft
			unknown bool
		}{
			"new":                    {draft("t", "new"), false},
			"new, with a key":        {under("new", draft("t", "new")), false},
			"large":                  {draft("t", strings.Repeat("x", 300<<10)), false},
			"again, in the commit":   {under("k", draft("t", "first")), true},
			"again, accepted before": {under("old", draft("t", "old")), true},
		} {
			_, err := r.Append(t.Context(), []spool.Draft{c.draft})
			if !errors.Is(err, spool.ErrBusy) || isUnknown(err) != c.unknown {
				t.Errorf("%s: %v, want unknown %t", name, err, c.unknown)
			}
		}
		r.queued(0)
		r.release <- struct{}{}
		if <-r.stalled {
			t.Fatal("told of another one")
		}
		if again := r.accept(under("k", draft("t", "first")))[0]; !again.Duplicate {
			t.Errorf("what was unknown and is stored is stored again: %+v", again)
		}
		r.reopen()
		if got := r.balanced().Ledger.Total.Accepted; got != 2 {
			t.Errorf("%d messages were accepted, want the two that were answered and unknown", got)
		}
		r.close()
	})
}

// TestWithdrawnPayloadLeavesNothing gives up a message that is stored in chunks,
// while they wait with it.
func TestWithdrawnPayloadLeavesNothing(t *testing.T) {
	r := newSlowRig(t, time.Hour)
	r.armed.Store(true)
	first := r.offer(draft("t", "first"))
	<-r.held
	large := r.offer(draft("t", strings.Repeat("x", 300<<10)))
	r.queued(4) // three chunks, and the record
	if err := large.givenUp(); !errors.Is(err, context.Canceled) || isUnknown(err) {
		t.Errorf("answered %v", err)
	}
	r.release <- struct{}{}
	if err := <-first.answer; err != nil {
		t.Error(err)
	}
	r.Flush()
	if n := r.chunks(); n != 0 {
		t.Errorf("%d chunks are left", n)
	}
	if got := r.balanced().Ledger.Total.Accepted; got != 1 {
		t.Errorf("%d messages were accepted", got)
	}
}

// TestTwinOfAWithdrawnMessage: two calls bring one key, and one gives up while the
// other may yet be stored.
func TestTwinOfAWithdrawnMessage(t *testing.T) {
	r := newSlowRig(t, time.Hour)
	r.armed.Store(true)
	first := r.offer(draft("t", "first"))
	<-r.held
	one, two := r.offer(under("k", draft("t", "x"))), r.offer(under("k", draft("t", "x")))
	r.queued(2)
	if err := one.givenUp(); !isUnknown(err) {
		t.Errorf("the other one waits, and this one is answered %v", err)
	}
	if err := two.givenUp(); isUnknown(err) || !errors.Is(err, context.Canceled) {
		t.Errorf("none of them waits, and this one is answered %v", err)
	}
	three := r.offer(under("k", draft("t", "x")))
	r.queued(1)
	r.release <- struct{}{}
	if err := errors.Join(<-first.answer, <-three.answer); err != nil {
		t.Error(err)
	}
	if got := r.balanced().Ledger.Total.Accepted; got != 2 {
		t.Errorf("%d messages were accepted", got)
	}
}

// TestRepeatDoesNotWaitForARead: a receipt that has to be read can be read when the
// commit that is being written has come to its end.
func TestRepeatDoesNotWaitForARead(t *testing.T) {
	r := newRig(t, spool.Options{})
	ctx, cancel := context.WithCancel(t.Context())
	reading, goOn := make(chan struct{}), make(chan struct{})
	answer := make(chan error, 1)
	go func() {
		_, err := r.Patiently(ctx, func() (message.Receipt, error) {
			close(reading)
			<-goOn
			return message.Receipt{}, nil
		})
		answer <- err
	}()
	<-reading
	cancel()
	if err := <-answer; !isUnknown(err) {
		t.Errorf("answered %v", err)
	}
	closed := make(chan struct{})
	go func() { r.close(); close(closed) }()
	select {
	case <-closed:
		t.Error("Close does not wait for the read")
	case <-time.After(20 * time.Millisecond):
	}
	close(goOn)
	<-closed
}
