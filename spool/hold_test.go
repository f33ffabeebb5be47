package spool_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/remora-mq/remora/internal/kv"
	"github.com/remora-mq/remora/message"
	"github.com/remora-mq/remora/spool"
)

func (r *rig) putOnHold(id message.ID) message.Receipt {
	r.t.Helper()
	got, err := r.Hold(context.Background(), id)
	if err != nil {
		r.t.Fatal(err)
	}
	return got
}

func (r *rig) releaseHeld(id message.ID) message.Receipt {
	r.t.Helper()
	got, err := r.ReleaseHeld(context.Background(), id)
	if err != nil {
		r.t.Fatal(err)
	}
	return got
}

// Holding is durable before it is answered, in memory or not, and lets all else
// pass; released, a message comes in its order.
func TestMessagesOnHoldAreNotForwarded(t *testing.T) {
	for name, window := range map[string]int64{"in memory": 0, "on disk": 1} {
		t.Run(name, func(t *testing.T) {
			r := newRig(t, spool.Options{Window: window})
			r.accept(draft("t", "first"))
			ids := []message.ID{
				r.accept(draft("t", "a"))[0].ID, r.accept(draft("t", "b"))[0].ID, r.accept(draft("t", "c"))[0].ID,
			}
			if got := r.putOnHold(ids[1]); !got.OnHold || got.State != message.StatePending || got.ID != ids[1] {
				t.Fatalf("held: %+v", got)
			}
			r.putOnHold(ids[1])
			r.kill()
			var got []string
			for len(got) < 3 {
				leases := r.lease("t", 0)
				got = append(got, bodies(leases)...)
				r.confirm(leases)
			}
			r.none("t")
			if fmt.Sprint(got) != "[first a c]" {
				t.Errorf("forwarded %v", got)
			}
			ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
			defer cancel()
			if err := r.Drained(ctx); err != nil {
				t.Error(err)
			}
			r.committed()
			if n := r.Ledger().Topics["t"]; n.OnHold != 1 || n.InSpool.Pending != 1 {
				t.Errorf("ledger %+v", n)
			}
			if a := r.balanced(); a.Ledger.Topics["t"].OnHold != 1 {
				t.Errorf("audit %+v", a.Ledger)
			}
			if got := r.releaseHeld(ids[1]); got.OnHold || got.State != message.StatePending {
				t.Errorf("released: %+v", got)
			}
			r.releaseHeld(ids[1])
			r.kill()
			if got := bodies(r.lease("t", 0)); fmt.Sprint(got) != "[b]" {
				t.Errorf("after its release: %v", got)
			}
			if n := len(r.find("sw")); n != 0 {
				t.Errorf("%d entries of holds are left", n)
			}
		})
	}
}

// A message on hold keeps what comes behind it under its ordering key, and
// nothing before it.
func TestHoldKeepsTheOrderOfItsKey(t *testing.T) {
	r := newRig(t, spool.Options{})
	r.accept(keyed("t", "1", "k"))
	id := r.accept(keyed("t", "2", "k"))[0].ID
	r.accept(keyed("t", "3", "k"), keyed("t", "other", "l"))
	r.putOnHold(id)
	for _, reopened := range []bool{false, true} {
		if reopened {
			r.kill()
		}
		first, other := r.lease("t", 0), r.lease("t", 0)
		if got := fmt.Sprint(bodies(first), bodies(other)); got != "[1] [other]" {
			t.Fatalf("reopened %t: %s", reopened, got)
		}
		r.none("t")
		r.Spool.Release(append(first, other...))
	}
	r.releaseHeld(id)
	if got := fmt.Sprint(bodies(r.lease("t", 0))); got != "[1 2 3]" {
		t.Fatal(got)
	}
}

// What the process knew of a message is known while it is on hold, and after.
func TestHoldOfARetryingMessage(t *testing.T) {
	r := newRig(t, spool.Options{})
	id := r.accept(draft("t", "x"))[0].ID
	r.Retry(r.lease("t", 0), time.Now().Add(time.Hour), message.OutcomeUnknown, "no answer")
	if got := r.putOnHold(id); got.Attempts != 1 || got.LastError != "no answer" || !got.MaybeSent || len(got.History.Events()) != 2 {
		t.Errorf("on hold: %+v", got)
	}
	if _, err := r.Cancel(t.Context(), id); !errors.Is(err, spool.ErrMaybeSent) {
		t.Errorf("cancel: %v", err)
	}
	if _, err := r.RetryNow(t.Context(), id); !errors.Is(err, spool.ErrWrongState) {
		t.Errorf("retry: %v", err)
	}
	r.releaseHeld(id)
	if l := r.lease("t", 0); l[0].Attempt != 2 {
		t.Errorf("attempt %d, want 2", l[0].Attempt)
	}
	if _, err := r.Cancel(t.Context(), id); !errors.Is(err, spool.ErrAlreadySent) {
		t.Errorf("cancel in flight: %v", err)
	}
}

func TestOnlyWhatWaitsCanBePutOnHold(t *testing.T) {
	r := newRig(t, spool.Options{})
	flying := r.accept(draft("t", "flying"))[0].ID
	r.lease("t", 0)
	dead := r.accept(draft("t", "dead"))[0].ID
	r.bury(r.lease("t", 0)[0])
	done := r.accept(draft("t", "done"))[0].ID
	r.confirm(r.lease("t", 0))
	for _, tc := range []struct {
		id   message.ID
		says string
	}{{flying, "an attempt is being made"}, {dead, "it is dead"}, {done, "it is confirmed"}} {
		_, err := r.Hold(t.Context(), tc.id)
		if !errors.Is(err, spool.ErrWrongState) || !strings.Contains(err.Error(), tc.says) {
			t.Errorf("hold: %v, want %q", err, tc.says)
		}
		if tc.id == flying {
			continue
		}
		if _, err := r.ReleaseHeld(t.Context(), tc.id); !errors.Is(err, spool.ErrWrongState) {
			t.Errorf("release: %v", err)
		}
		if _, err := r.RetryNow(t.Context(), tc.id); !errors.Is(err, spool.ErrWrongState) {
			t.Errorf("retry: %v", err)
		}
	}
	if _, err := r.Hold(t.Context(), message.ID{1}); !errors.Is(err, spool.ErrNotFound) {
		t.Errorf("an unknown one: %v", err)
	}
}

// A message on hold can be cancelled; its hold goes with it.
func TestCancelOfAMessageOnHold(t *testing.T) {
	r := newRig(t, spool.Options{})
	id := r.accept(keyed("t", "1", "k"))[0].ID
	r.accept(keyed("t", "2", "k"))
	r.putOnHold(id)
	r.none("t")
	if got, err := r.Cancel(t.Context(), id); err != nil || got.State != message.StateCancelled {
		t.Fatalf("%+v, %v", got, err)
	}
	if n := len(r.find("sw")); n != 0 {
		t.Errorf("%d entries of holds are left", n)
	}
	if got := fmt.Sprint(bodies(r.lease("t", 0))); got != "[2]" {
		t.Error(got)
	}
	if n := r.Ledger().Total; n.OnHold != 0 || n.Cancelled != 1 {
		t.Errorf("%+v", n)
	}
	r.kill()
	r.balanced()
}

// A hold is answered after the commit that has it, and a release too.
func TestHoldIsNotAnsweredBeforeItIsStored(t *testing.T) {
	r := newRigOn(t, spool.Options{}, kv.Options{})
	id := r.accept(draft("t", "x"))[0].ID
	for _, step := range []struct {
		name string
		do   func(context.Context, message.ID) (message.Receipt, error)
		want int
	}{{"hold", r.Hold, 1}, {"release", r.ReleaseHeld, 0}} {
		if _, err := step.do(t.Context(), id); err != nil {
			t.Fatal(err)
		}
		if n := len(r.find("sw")); n != step.want {
			t.Errorf("after %s: %d entries, want %d", step.name, n, step.want)
		}
	}
}

func TestRetryNowEndsTheWait(t *testing.T) {
	r := newRig(t, spool.Options{})
	id := r.accept(keyed("t", "x", "k"))[0].ID
	r.Retry(r.lease("t", 0), time.Now().Add(time.Hour), message.OutcomeRetryable, "no")
	r.none("t")
	if got, err := r.RetryNow(t.Context(), id); err != nil || got.State != message.StatePending {
		t.Fatalf("%+v, %v", got, err)
	}
	if l := r.lease("t", 0); l[0].Attempt != 2 {
		t.Errorf("attempt %d", l[0].Attempt)
	}
	if got, err := r.RetryNow(t.Context(), id); err != nil || got.State != message.StateInFlight {
		t.Errorf("in flight: %+v, %v", got, err)
	}
}

// A confirmation that comes after the lease has lapsed counts, also when the
// message is on hold by then: the broker has it.
func TestConfirmationOfAMessageOnHold(t *testing.T) {
	c := newClock()
	r := newRig(t, spool.Options{Now: c.now})
	id := r.accept(keyed("t", "1", "k"))[0].ID
	r.accept(keyed("t", "2", "k"))
	late := r.lease("t", 1)
	c.advance(time.Hour)
	r.WakeDue()
	r.putOnHold(id)
	r.none("t")
	r.confirm(late)
	if got, err := r.Receipt(t.Context(), id); err != nil || got.State != message.StateConfirmed || got.OnHold || got.Attempts != 2 {
		t.Errorf("%+v (%v)", got, err)
	}
	if got := fmt.Sprint(bodies(r.lease("t", 0))); got != "[2]" {
		t.Error(got)
	}
	r.reopen()
	if a := r.balanced(); a.Ledger.Total.OnHold != 0 || len(r.find("sw")) != 0 {
		t.Errorf("%+v", a.Ledger.Total)
	}
}

// A release is answered by what it did, also when the broker is faster.
func TestReleaseOfWhatIsConfirmedAtOnce(t *testing.T) {
	r := newRig(t, spool.Options{})
	for n := range 50 {
		id := r.accept(draft("t", fmt.Sprint(n)))[0].ID
		r.putOnHold(id)
		confirmed := make(chan struct{})
		go func() {
			defer close(confirmed)
			for {
				leases, err := r.Lease(t.Context(), "t", spool.LeaseOptions{})
				if err != nil || len(leases) > 0 {
					r.Confirm(leases, make([]message.Confirmation, len(leases)))
					return
				}
			}
		}()
		if got, err := r.ReleaseHeld(t.Context(), id); err != nil || got.OnHold {
			t.Errorf("released %+v, %v", got, err)
		}
		<-confirmed
	}
}
