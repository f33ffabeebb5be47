package spool_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/remora-mq/remora/message"
	"github.com/remora-mq/remora/spool"
)

func TestCancelIsGrantedOnlyBeforeAnyAttempt(t *testing.T) {
	r := newRig(t, spool.Options{})
	retry := func(outcome message.Outcome) func([]*spool.Lease) {
		return func(l []*spool.Lease) { r.Retry(l, time.Now().Add(time.Hour), outcome, "no") }
	}
	tests := []struct {
		name string
		do   func([]*spool.Lease)
		want error
	}{
		{"in flight", func([]*spool.Lease) {}, spool.ErrAlreadySent},
		{"given back", r.Release, nil},
		{"known not stored", retry(message.OutcomeRetryable), nil},
		{"unknown", retry(message.OutcomeUnknown), spool.ErrMaybeSent},
		{"confirmed", r.confirm, spool.ErrAlreadySent},
		{"dead", func(l []*spool.Lease) { r.bury(l[0]) }, spool.ErrAlreadySent},
	}
	for i, tc := range tests {
		t.Run(tc.name, func(t *testing.T) {
			topic := fmt.Sprint("t", i)
			id := r.accept(draft(topic, "a"))[0].ID
			tc.do(r.lease(topic, 0))
			got, err := r.Cancel(t.Context(), id)
			if !errors.Is(err, tc.want) || err == nil && got.State != message.StateCancelled {
				t.Fatalf("%v %v", got.State, err)
			}
		})
	}
	r.reopen()
	r.balanced()
}

func TestCancelAfterRestartIsGrantedOnlyAboveTheAttemptedHighWater(t *testing.T) {
	for _, how := range []string{"closed", "killed"} {
		t.Run(how, func(t *testing.T) {
			t.Parallel()
			r := newRig(t, spool.Options{})
			r.accept(draft("t", "first"))
			first := r.lease("t", 0)
			r.Retry(first, time.Now(), message.OutcomeRetryable, "down") // from now on nothing is sent at once
			after := r.accept(draft("t", "never attempted"))[0].ID
			if how == "closed" {
				r.reopen()
			} else {
				r.kill()
			}
			if _, err := r.Cancel(t.Context(), first[0].ID); !errors.Is(err, spool.ErrMaybeSent) {
				t.Errorf("the one that was attempted: %v", err)
			}
			if got, err := r.Cancel(t.Context(), after); err != nil || got.State != message.StateCancelled {
				t.Errorf("the one that was not: %v", err)
			}
			r.kill()
			if got, err := r.Receipt(t.Context(), after); err != nil || got.State != message.StateCancelled {
				t.Errorf("%v %v", got.State, err)
			}
			if got := fmt.Sprint(bodies(r.lease("t", 0))); got != "[first]" {
				t.Error(got)
			}
			r.balanced()
		})
	}
}

func TestCancelReachesMessagesThatWaitOnDisk(t *testing.T) {
	r := newRig(t, spool.Options{Window: 1})
	var ids []message.ID
	for i := range 6 {
		body := fmt.Sprint(i)
		if i == 3 {
			body = large('3')
		}
		ids = append(ids, r.accept(draft("t", body))[0].ID)
	}
	for _, id := range ids[2:5] {
		if got, err := r.Cancel(t.Context(), id); err != nil || got.State != message.StateCancelled {
			t.Fatal(got.State, err)
		}
	}
	if n := r.Ledger().Total; n.Cancelled != 3 || n.InSpool.Held() != 3 {
		t.Fatalf("%+v", n)
	}
	var got []string
	for len(got) < 3 {
		leases := r.lease("t", 1)
		got = append(got, bodies(leases)...)
		r.confirm(leases)
	}
	if fmt.Sprint(got) != "[0 1 5]" {
		t.Fatal(got)
	}
	r.none("t")
	if left := len(r.find("sc")) + len(r.find("sx")); left > 0 {
		t.Fatalf("%d entries of the cancelled payload are left", left)
	}
	r.balanced()
}

// A client that got no answer asks again, also after a restart.
func TestCancelAgainTellsTheSame(t *testing.T) {
	r := newRig(t, spool.Options{})
	id := r.accept(draft("t", "a"))[0].ID
	for _, how := range []func(){func() {}, func() {}, r.kill} {
		how()
		if got, err := r.Cancel(t.Context(), id); err != nil || got.State != message.StateCancelled {
			t.Errorf("%v %v", got.State, err)
		}
	}
	r.balanced()
}

// What one call is told is cancelled has to be so after a crash, though another
// call does it.
func TestCancelsAtTheSameTime(t *testing.T) {
	r := newRig(t, spool.Options{})
	id := r.accept(draft("t", "a"))[0].ID
	var calls sync.WaitGroup
	for range 8 {
		calls.Go(func() {
			if got, err := r.Cancel(t.Context(), id); err != nil || got.State != message.StateCancelled {
				t.Errorf("%v %v", got.State, err)
			}
			if n := r.Ledger().Total; n.Cancelled != 1 {
				t.Errorf("told before it was written: %+v", n)
			}
		})
	}
	calls.Wait()
	r.balanced()
}

func TestHistoryTellsEachAttemptWithItsOwnOutcome(t *testing.T) {
	r := newRig(t, spool.Options{})
	id := r.accept(draft("t", "a"))[0].ID
	r.Retry(r.lease("t", 0), time.Now(), message.OutcomeRetryable, "down")
	r.confirm(r.lease("t", 0))
	got, err := r.Receipt(t.Context(), id)
	if err != nil {
		t.Fatal(err)
	}
	var story []string
	for _, e := range got.History.Events()[1:] {
		story = append(story, strings.TrimSpace(fmt.Sprint(e.Name, " ", e.Outcome, " ", e.Detail)))
	}
	if s := strings.Join(story, ", "); s != "attempt retryable down, attempt confirmed, confirmed unknown" {
		t.Error(s)
	}
}

// A caller that leaves in the middle must not take the message along.
func TestCancelAndBuryFinishWithoutTheirCaller(t *testing.T) {
	r := newRig(t, spool.Options{})
	ids := r.accept(draft("t", "a"), draft("t", "b"))
	ctx, cancel := context.WithCancel(t.Context())
	l := r.lease("t", 1)[0]
	cancel()
	if err := r.Bury(ctx, l, "REFUSED", "no"); err != nil {
		t.Error(err)
	}
	if _, err := r.Cancel(ctx, ids[1].ID); !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
	if got := fmt.Sprint(bodies(r.lease("t", 0))); got != "[b]" {
		t.Error(got)
	}
	r.reopen()
	if n := r.Ledger().Total.InSpool; n.Dead != 1 || n.Pending != 1 {
		t.Errorf("%+v", n)
	}
}

func TestDeadLettersKeepWhatTheyAre(t *testing.T) {
	r := newRig(t, spool.Options{})
	r.accept(draft("t", "small"), draft("t", large('L')), draft("t", "fine"))
	for _, l := range r.lease("t", 2) {
		if err := r.Bury(t.Context(), l, "MESSAGE_ILLEGAL", strings.Repeat("ü", 300)); err != nil {
			t.Fatal(err)
		}
		got, err := r.Wait(t.Context(), l.ID)
		if err != nil || got.State != message.StateDead || !got.SettledAt.IsZero() || got.Attempts != 1 || len(got.LastError) > 200 {
			t.Fatalf("%+v %v", got, err)
		}
	}
	r.kill()
	a := r.balanced()
	if n := a.Ledger.Total.InSpool; n.Dead != 2 || n.Pending != 1 || a.Held != 3 {
		t.Fatalf("%+v", a)
	}
	r.confirm(r.lease("t", 0))
	if err := r.Drained(t.Context()); err != nil {
		t.Fatal(err)
	}
	if n := len(r.find("sc")); n != 1 {
		t.Fatalf("%d chunks: the dead letter's payload has to stay", n)
	}
	r.reopen()
	r.none("t")
	r.balanced()
}

// What is accepted while attempts fail is not expected to be sent at once: the
// first lease has to put down that it may be.
func TestAttemptIsOnDiskBeforeItIsMade(t *testing.T) {
	r := newRig(t, spool.Options{})
	r.accept(draft("t", "first"))
	r.Retry(r.lease("t", 0), time.Now().Add(time.Hour), message.OutcomeRetryable, "down")
	id := r.accept(draft("t", "second"))[0].ID
	r.lease("t", 0)
	r.kill()
	if _, err := r.Cancel(t.Context(), id); !errors.Is(err, spool.ErrMaybeSent) {
		t.Fatal(err)
	}
}

// A message whose cancel is being written may be read from disk meanwhile.
func TestCancelledOnDiskIsNotLeasedMeanwhile(t *testing.T) {
	r := newRig(t, spool.Options{Window: 1})
	r.accept(draft("t", "a"))
	id := r.accept(draft("t", "b"))[0].ID
	r.confirm(r.lease("t", 1))
	goOn := r.hold()
	defer goOn()
	cancelled := make(chan error)
	go func() { _, err := r.Cancel(t.Context(), id); cancelled <- err }()
	if got, err := r.Wait(t.Context(), id); err != nil || got.State != message.StateCancelled {
		t.Fatal(got.State, err)
	}
	r.none("t")
	goOn()
	if err := <-cancelled; err != nil {
		t.Fatal(err)
	}
	r.none("t")
	r.balanced()
}
