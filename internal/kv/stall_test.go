package kv

import (
	"context"
	"errors"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/dgraph-io/badger/v4"
)

// slowDisk is a database whose commits wait, each until release.
type slowDisk struct {
	*DB
	*Queue[*write]
	began, release chan struct{}
	stall          chan bool
}

// A time-out that is to pass wants a bubble of synctest, where no time passes while a
// sync is slow.
func newSlowDisk(t *testing.T, timeout time.Duration, queued int) *slowDisk {
	t.Helper()
	d := &slowDisk{began: make(chan struct{}), release: make(chan struct{}), stall: make(chan bool, 16)}
	opts := testOptions(t.TempDir())
	opts.SyncTimeout, opts.MaxQueued = timeout, queued
	opts.OnStall = func(stalled bool) { d.stall <- stalled }
	d.DB = openTest(t, opts)
	d.Queue = Attach(d.DB, &writer{})
	commitNow := d.commitTxn
	d.commitTxn = func(txn *badger.Txn, version uint64) error {
		d.began <- struct{}{}
		<-d.release
		return commitNow(txn, version)
	}
	return d
}

// later runs Offer and returns where its answer comes.
func (d *slowDisk) later(ctx context.Context, op *write) <-chan error {
	answer := make(chan error, 1)
	go func() { answer <- d.Offer(ctx, op, op.size()) }()
	return answer
}

// told waits until it is told that the disk has stalled, or does not any more.
func (d *slowDisk) told(t *testing.T) (stalled bool) {
	t.Helper()
	select {
	case stalled = <-d.stall:
	case <-time.After(patience):
		t.Fatal("nothing is told of a stall")
	}
	return stalled
}

// patience bounds the waits of tests that would hang where the code is wrong.
const patience = 30 * time.Second

func TestOfferIsWithdrawnBeforeItsCommitBegins(t *testing.T) {
	d := newSlowDisk(t, time.Hour, 0)
	first := d.later(t.Context(), put("first", "1"))
	<-d.began
	ctx, cancel := context.WithCancel(t.Context())
	second, third := d.later(ctx, put("second", "2")), d.later(t.Context(), put("third", "3"))
	waitQueued(t, d.DB, 2)
	cancel()
	if err := <-second; !errors.Is(err, context.Canceled) || errors.Is(err, ErrUnknown) {
		t.Errorf("the one that waited is answered %v: nothing of it happened", err)
	}
	if n := d.Stats().Queued; n != 1 {
		t.Errorf("%d operations wait, want the third", n)
	}
	d.release <- struct{}{}
	<-d.began
	d.release <- struct{}{}
	if err := errors.Join(<-first, <-third); err != nil {
		t.Error(err)
	}
	wantValue(t, d.DB, "third", "3")
	if _, err := d.Get([]byte("second")); !errors.Is(err, ErrNotFound) {
		t.Errorf("what was withdrawn is there: %v", err)
	}
}

func TestOfferOfTheCommitThatIsWrittenIsUnknown(t *testing.T) {
	d := newSlowDisk(t, time.Hour, 0)
	ctx, cancel := context.WithCancel(t.Context())
	first := d.later(ctx, put("first", "1"))
	<-d.began
	cancel()
	if err := <-first; !errors.Is(err, ErrUnknown) || !errors.Is(err, context.Canceled) {
		t.Errorf("answered %v", err)
	}
	d.release <- struct{}{}
	wantValue(t, d.DB, "first", "1") // waits for the commit
}

// TestWithdrawLeavesTheOthers takes offers out of a batch in any order, and all
// of it, and a posted operation that shares it stays.
func TestWithdrawLeavesTheOthers(t *testing.T) {
	d := newSlowDisk(t, time.Hour, 0)
	first := d.later(t.Context(), put("first", "1"))
	<-d.began
	const offers = 9
	d.Post(put("posted", "p"), 64)
	var cancels []context.CancelFunc
	var answers []<-chan error
	for i := range offers {
		ctx, cancel := context.WithCancel(t.Context())
		cancels, answers = append(cancels, cancel), append(answers, d.later(ctx, put(numbered(i), "v")))
		waitQueued(t, d.DB, i+2)
	}
	gone := []int{4, 0, 8, 3}
	for _, i := range gone {
		cancels[i]()
		if err := <-answers[i]; errors.Is(err, ErrUnknown) {
			t.Errorf("offer %d: %v", i, err)
		}
		answers[i] = nil
	}
	d.release <- struct{}{}
	<-d.began
	d.release <- struct{}{}
	stays := map[int]bool{}
	for i, answer := range answers {
		if answer != nil {
			stays[i] = true
			if err := <-answer; err != nil {
				t.Errorf("offer %d: %v", i, err)
			}
		}
		cancels[i]()
	}
	if err := <-first; err != nil {
		t.Error(err)
	}
	wantValue(t, d.DB, "posted", "p")
	for i := range offers {
		if _, err := d.Get([]byte(numbered(i))); (err == nil) != stays[i] {
			t.Errorf("offer %d: %v, stays %t", i, err, stays[i])
		}
	}
}

func TestStalledCommitRefusesOffersUntilItEnds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := newSlowDisk(t, 20*time.Millisecond, 0)
		first := d.later(t.Context(), put("first", "1"))
		<-d.began
		if !d.told(t) {
			t.Fatal("told that nothing is stalled")
		}
		if since, times := d.Stalled(); since.IsZero() || times == 0 {
			t.Errorf("stalled since %v, %d times", since, times)
		}
		ctx, cancel := context.WithTimeout(t.Context(), patience)
		defer cancel()
		if err := d.Offer(ctx, put("second", "2"), 64); !errors.Is(err, ErrBusy) || errors.Is(err, ErrUnknown) {
			t.Fatalf("an offer is answered %v", err)
		}
		if err := d.Busy(1); !errors.Is(err, ErrBusy) {
			t.Errorf("busy: %v", err)
		}
		var committed sync.WaitGroup // who may not be refused waits
		committed.Go(func() {
			if err := d.Commit(t.Context(), put("third", "3"), 64); err != nil {
				t.Error(err)
			}
		})
		waitQueued(t, d.DB, 1)
		d.release <- struct{}{}
		if err := <-first; err != nil {
			t.Error(err)
		}
		if d.told(t) {
			t.Error("told of a second one")
		}
		ended := make(chan struct{})
		defer close(ended)
		go func() { // from now on the disk is as fast as it is
			for {
				select {
				case <-d.began:
					d.release <- struct{}{}
				case <-ended:
					return
				}
			}
		}()
		committed.Wait()
		if err := d.Offer(t.Context(), put("fourth", "4"), 64); err != nil {
			t.Errorf("an offer after the stall is answered %v", err)
		}
	})
}

func TestOffersAreRefusedAboveTheQueuesBytes(t *testing.T) {
	d := newSlowDisk(t, time.Hour, 1000)
	first := d.later(t.Context(), put("first", "1"))
	<-d.began
	d.Post(put("posted", "p"), 700)
	if err := d.Offer(t.Context(), put("second", "2"), 301); !errors.Is(err, ErrBusy) {
		t.Errorf("answered %v", err)
	}
	answer := make(chan error, 1)
	go func() { answer <- d.Offer(t.Context(), put("third", "3"), 300) }()
	waitQueued(t, d.DB, 2)
	d.release <- struct{}{}
	<-d.began
	d.release <- struct{}{}
	if err := errors.Join(<-first, <-answer); err != nil {
		t.Error(err)
	}
}

// TestStalledHeadRefusesOffers: what is acknowledged must not run ahead of HEAD.
func TestStalledHeadRefusesOffers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := newSlowDisk(t, 20*time.Millisecond, 0)
		head := d.stalls.watch(headName)
		head.begin()
		<-d.stall
		if err := d.Busy(1); !errors.Is(err, ErrBusy) {
			t.Errorf("busy: %v", err)
		}
		head.end()
		<-d.stall
		if err := d.Busy(1); err != nil {
			t.Errorf("busy: %v", err)
		}
		head.begin()
		head.end() // in time
		if _, times := d.Stalled(); times != 1 {
			t.Errorf("%d stalls", times)
		}
	})
}
