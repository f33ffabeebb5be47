package spool_test

import (
	"context"
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"github.com/remora-mq/remora/internal/kv"
	"github.com/remora-mq/remora/message"
	"github.com/remora-mq/remora/spool"
)

// Who comes too late with an attempt that was not confirmed changes nothing: another has
// the lease by then, or the message is confirmed.
func TestALeaseThatHasEndedIsNotGivenBack(t *testing.T) {
	for name, giveBack := range map[string]func(r *rig, late []*spool.Lease){
		"retry": func(r *rig, late []*spool.Lease) {
			r.Retry(late, time.Now().Add(-time.Hour), message.OutcomeRetryable, "busy")
		},
		"release": func(r *rig, late []*spool.Lease) { r.Release(late) },
		"bury":    func(r *rig, late []*spool.Lease) { r.bury(late[0]) },
	} {
		t.Run(name, func(t *testing.T) {
			r, c := timed(t, spool.Options{LeaseFor: time.Minute})
			id := r.accept(draft("t", "1"))[0].ID
			late := r.lease("t", 1)
			c.advance(2 * time.Minute)
			holder := r.lease("t", 1)
			giveBack(r, late)
			if got := r.receipt(id); got.State != message.StateInFlight || got.Attempts != 1 {
				t.Fatalf("while another attempt is made: %s after %d attempts", got.State, got.Attempts)
			}
			r.none("t")
			r.confirm(holder)
			giveBack(r, late)
			giveBack(r, holder)
			if got := r.receipt(id); got.State != message.StateConfirmed || got.Attempts != 2 {
				t.Errorf("confirmed, and then %s after %d attempts", got.State, got.Attempts)
			}
			r.none("t")
			r.flush()
			r.balanced()
		})
	}
}

// Nor is it put off when its payload cannot be read.
func TestALeaseThatHasEndedIsNotPutOff(t *testing.T) {
	r, c := timed(t, spool.Options{LeaseFor: time.Minute})
	id := r.accept(draft("t", large('a')))[0].ID
	lease := func() []*spool.Lease {
		leases, err := r.Lease(t.Context(), "t", spool.LeaseOptions{MaxMessages: 1, Later: true})
		if err != nil {
			t.Fatal(err)
		}
		return leases
	}
	late := lease()
	c.advance(2 * time.Minute)
	holder := lease()
	r.behind(func(tx *kv.Tx) { tx.Delete(r.find("sc")[0].key) })
	if ok := r.Payloads(t.Context(), late); len(ok) > 0 {
		t.Fatal("a payload that is gone was read")
	}
	if got := r.receipt(id); got.State != message.StateInFlight {
		t.Errorf("while another has the lease it is %s", got.State)
	}
	if ok := r.Payloads(t.Context(), holder); len(ok) > 0 || r.receipt(id).State != message.StateRetrying {
		t.Errorf("then it is %s", r.receipt(id).State)
	}
}

// A late confirmation of what was put on hold and released is of a lease that is not
// known any more: the message is sent again, and ends once.
func TestALateConfirmationOfWhatWasReleased(t *testing.T) {
	r, c := timed(t, spool.Options{LeaseFor: time.Minute})
	id := r.accept(draft("t", "1"))[0].ID
	late := r.lease("t", 1)
	c.advance(2 * time.Minute)
	r.WakeDue()
	r.putOnHold(id)
	r.releaseHeld(id)
	r.confirm(late)
	if got := r.receipt(id); got.State != message.StatePending {
		t.Fatalf("it is %s", got.State)
	}
	r.confirm(r.lease("t", 1))
	if got := r.receipt(id); got.State != message.StateConfirmed {
		t.Fatalf("it is %s", got.State)
	}
	r.none("t")
	r.flush()
	r.balanced()
}

// What a drain waits for is what may yet be sent: not what was cancelled before it was
// due, or discarded; and of what is confirmed it does not wait for the record.
func TestWaitingIsWhatMayYetBeSent(t *testing.T) {
	r := newRigOn(t, spool.Options{}, kv.Options{LazyDelay: time.Hour})
	delayed := draft("t", "delayed")
	delayed.DeliverAt = time.Now().Add(time.Hour)
	all := r.accept(draft("t", "refused"), draft("t", "1"), delayed)
	r.bury(r.lease("t", 1)[0])
	r.discard(all[0].ID)
	r.cancelled(all[2].ID)
	if n := r.Waiting("t"); n != 1 {
		t.Errorf("%d wait, want one", n)
	}
	r.confirm(r.lease("t", 1))
	if n := r.Waiting("t"); n != 0 {
		t.Errorf("%d wait, want none", n)
	}
	r.flush()
	if n := r.Waiting("t"); n != 0 {
		t.Errorf("%d wait once all is recorded", n)
	}
}

// A confirmation wakes who waits for it: for the next of its ordering key, and for the
// end of all. Neither waits for the record.
func TestAConfirmationWakes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRigOn(t, spool.Options{}, kv.Options{LazyDelay: time.Hour})
		r.accept(keyed("t", "1", "k"), keyed("t", "2", "k"))
		first := r.lease("t", 1)
		second := make(chan []*spool.Lease, 1)
		go func() { second <- r.lease("t", 1) }()
		synctest.Wait()
		r.confirm(first)
		synctest.Wait()
		var leases []*spool.Lease
		select {
		case leases = <-second:
		default:
			t.Fatal("what is behind a confirmed message is not leased")
		}
		drained := make(chan error, 1)
		go func() { drained <- r.Drained(t.Context()) }()
		synctest.Wait()
		r.confirm(leases)
		synctest.Wait()
		select {
		case err := <-drained:
			if err != nil {
				t.Error(err)
			}
		default:
			t.Error("Drained sleeps on")
		}
	})
}

// Who waits no longer takes no other along, and leaves nothing behind.
func TestWhoWaitsNoLongerIsForgotten(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, spool.Options{})
		id := r.accept(draft("t", "1"))[0].ID
		impatient, giveUp := context.WithCancel(t.Context())
		left, ended := make(chan message.State, 1), make(chan message.State, 1)
		wait := func(ctx context.Context, heard chan<- message.State) {
			got, err := r.Wait(ctx, id)
			if err != nil {
				t.Error(err)
			}
			heard <- got.State
		}
		go wait(impatient, left)
		go wait(t.Context(), ended)
		synctest.Wait()
		giveUp()
		if state := <-left; state != message.StatePending {
			t.Errorf("who gave up heard %s", state)
		}
		r.confirm(r.lease("t", 1))
		synctest.Wait()
		select {
		case state := <-ended:
			if state != message.StateConfirmed {
				t.Errorf("who waited on heard %s", state)
			}
		default:
			t.Fatal("who waited on hears nothing")
		}
		over, giveUp := context.WithCancel(t.Context())
		giveUp()
		other := r.accept(draft("u", "1"))[0].ID
		if _, err := r.Wait(over, other); err != nil || r.Watched(other) || r.Watched(id) {
			t.Errorf("%v, and something still waits", err)
		}
	})
}

// What is given back is leased at once by who waits for something.
func TestWhatIsGivenBackWakes(t *testing.T) {
	for name, giveBack := range map[string]func(r *rig, held []*spool.Lease){
		"release": func(r *rig, held []*spool.Lease) { r.Release(held) },
		"retry":   func(r *rig, held []*spool.Lease) { r.Retry(held, time.Now(), message.OutcomeRetryable, "busy") },
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				r := newRig(t, spool.Options{})
				r.accept(draft("t", "1"))
				held := r.lease("t", 1)
				next := make(chan []*spool.Lease, 1)
				go func() { next <- r.lease("t", 1) }()
				synctest.Wait()
				giveBack(r, held)
				synctest.Wait()
				select {
				case <-next:
				default:
					t.Error("it is not leased again")
				}
			})
		})
	}
}

// Confirmations are of their messages, in order, and each ends with its own.
func TestConfirmationsAreOfTheirMessages(t *testing.T) {
	r := newRig(t, spool.Options{})
	all := r.accept(draft("t", "1"), draft("t", "2"), draft("t", "3"))
	r.confirm(r.leaseSome("t", 3))
	r.flush()
	for _, sent := range all {
		got := r.receipt(sent.ID)
		if want := sent.ID.String(); got.Confirmation == nil || got.Confirmation.MessageID != want || events(got) != "accepted attempt confirmed" {
			t.Errorf("%s: %s, %+v", want, events(got), got.Confirmation)
		}
		if h := got.History.Events(); h[1].Outcome != message.OutcomeConfirmed {
			t.Errorf("its attempt is told as %s", fmt.Sprint(h[1]))
		}
	}
}
