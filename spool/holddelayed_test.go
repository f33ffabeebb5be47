package spool_test

import (
	"errors"
	"fmt"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/remora-mq/remora/message"
	"github.com/remora-mq/remora/spool"
)

// A delayed message on hold does not fall due, through kills, and nothing waits
// for it: not what is due behind it, and not its ordering key. Released, it falls
// due when it is; until then it can be cancelled.
func TestDelayedMessagesOnHoldDoNotFallDue(t *testing.T) {
	r, c := timed(t, spool.Options{})
	all := r.accept(
		after(keyed("t", "held", "k"), time.Hour), until(bulky(draft("t", "held by the wall clock")), c.now().Add(time.Hour)),
		after(draft("t", "cancelled"), time.Hour), after(keyed("t", "due", "k"), time.Hour), after(draft("t", "later"), 3*time.Hour),
	)
	for _, m := range all[:3] {
		if got := r.putOnHold(m.ID); !got.OnHold || got.State != message.StateDelayed || got.DeliverAt.IsZero() {
			t.Fatalf("held: %+v", got)
		}
	}
	if n := r.find("sh")[0].value[0]; n != 3 {
		t.Errorf("the format is %d: a version that lets them fall due would read it", n)
	}
	r.putOnHold(all[0].ID)
	r.putOnHold(all[4].ID)
	if got := r.releaseHeld(all[4].ID); got.OnHold || got.State != message.StateDelayed {
		t.Fatalf("released before it is due: %+v", got)
	}
	is := func(delayed uint64, due ...string) {
		t.Helper()
		r.awaitDelayed(delayed)
		for _, m := range all[:2] {
			if got := r.receipt(m.ID); !got.OnHold || got.State != message.StateDelayed {
				t.Fatalf("on hold: %+v", got)
			}
		}
		if n := r.balanced().Ledger.Total; n.DelayedOnHold != uint64(len(r.find("sw"))) || n.OnHold != 0 || n.DelayedOnHold != r.Ledger().Total.DelayedOnHold {
			t.Fatalf("the audit counts %+v, the ledger %+v", n, r.Ledger().Total)
		}
		if got := bodies(r.leaseSome("t", len(due))); !slices.Equal(got, due) {
			t.Fatalf("leased %q, want %q", got, due)
		}
		r.none("t")
		r.WakeDue()
		if found := r.Damage(); len(found.Seen) != 0 || found.Pending() {
			t.Fatalf("what is on hold is taken for damage: %+v", found)
		}
	}
	r.kill()
	c.advance(2 * time.Hour)
	is(4, "due")
	r.kill()
	is(4, "due") // its lease was lost
	if got, err := r.Cancel(t.Context(), all[2].ID); err != nil || got.State != message.StateCancelled {
		t.Fatalf("cancelled %+v, %v", got, err)
	}
	c.advance(2 * time.Hour)
	is(2, "due", "later") // its lease lapsed
	page, err := r.List(t.Context(), spool.Query{OnHold: true})
	if err != nil || len(page.Items) != 2 || page.Items[0].ID != all[0].ID || !page.Items[0].OnHold {
		t.Fatalf("listed on hold %+v, %v", page.Items, err)
	}
	for n, m := range all[:2] {
		r.releaseHeld(m.ID)
		r.awaitDelayed(uint64(1 - n))
	}
	r.kill()
	if got := bodies(r.leaseSome("t", 4)); len(got) != 4 || got[1] != "held" || len(r.find("sw")) != 0 {
		t.Fatalf("leased %.20q, %d holds are left", got, len(r.find("sw")))
	}
	if n := r.balanced().Ledger.Total; n.DelayedOnHold != 0 || n.Cancelled != 1 {
		t.Fatalf("the ledger is %+v", n)
	}
}

// meetTheDueTime delays messages until 8 are due each millisecond, and does
// something with all of them, 8 at a time, while those are passing.
func (r *rig) meetTheDueTime(c *clock, messages int, do func(message.ID)) []message.Receipt {
	var drafts []spool.Draft
	for n := range messages {
		drafts = append(drafts, after(draft("t", fmt.Sprint(n)), time.Hour+time.Duration(n/8)*time.Millisecond))
	}
	all := r.accept(drafts...)
	c.advance(time.Hour)
	var callers sync.WaitGroup
	for k := range 8 {
		callers.Go(func() {
			for n := k; n < len(all); n += 8 {
				do(all[n].ID)
				if k == 0 {
					c.advance(time.Millisecond)
					r.WakeDue()
				}
			}
		})
	}
	callers.Wait()
	return all
}

// A hold that meets the due time holds the message where it then is, and what is
// released is sent, once.
func TestHoldMeetsTheDueTime(t *testing.T) {
	r, c := timed(t, spool.Options{})
	all := r.meetTheDueTime(c, 400, func(id message.ID) {
		if got, err := r.Hold(t.Context(), id); err != nil || !got.OnHold {
			t.Errorf("held %+v, %v", got, err)
		}
	})
	r.kill()
	r.none("t")
	if n := r.balanced().Ledger.Total; n.OnHold+n.DelayedOnHold != uint64(len(all)) || n.DelayedOnHold != n.InSpool.Delayed {
		t.Fatalf("the ledger is %+v", n)
	}
	var callers sync.WaitGroup
	for k := range 8 {
		callers.Go(func() {
			for n := k; n < len(all); n += 8 {
				if got, err := r.ReleaseHeld(t.Context(), all[n].ID); err != nil || got.OnHold {
					t.Errorf("released %+v, %v", got, err)
				}
			}
		})
	}
	callers.Wait()
	r.awaitDelayed(0)
	got := bodies(r.leaseSome("t", len(all)))
	slices.Sort(got)
	if len(slices.Compact(got)) != len(all) {
		t.Errorf("%d different messages were sent", len(got))
	}
	r.balanced()
}

// A delayed message stays on hold when it is exported and imported.
func TestDelayedMessagesOnHoldAreMoved(t *testing.T) {
	r, c := timed(t, spool.Options{})
	all := r.accept(after(draft("t", "held"), time.Hour), after(draft("t", "due"), time.Hour))
	r.putOnHold(all[0].ID)
	out := r.export(spool.Query{})
	for name, late := range map[string]bool{"before it is due": false, "after": true} {
		t.Run(name, func(t *testing.T) {
			to, other := timed(t, spool.Options{})
			other.advance(c.now().Sub(other.now()))
			want := message.StateDelayed
			if late {
				other.advance(2 * time.Hour)
				want = message.StatePending
			}
			to.take(out)
			if done := to.take(out); done.Messages != 0 || done.Known != 2 {
				t.Errorf("%+v", done)
			}
			if n := to.Ledger().Total; (n.DelayedOnHold == 1) == late || (n.OnHold == 1) != late {
				t.Errorf("the ledger is %+v", n)
			}
			other.advance(2 * time.Hour)
			to.kill()
			if got := to.receipt(all[0].ID); !got.OnHold || got.State != want {
				t.Errorf("%+v", got)
			}
			if got := bodies(to.leaseSome("t", 1)); got[0] != "due" {
				t.Errorf("leased %q", got)
			}
			to.none("t")
			to.balanced()
			to.releaseHeld(all[0].ID)
			if got := bodies(to.leaseSome("t", 1)); got[0] != "held" {
				t.Errorf("leased %q", got)
			}
			if _, err := to.Cancel(t.Context(), all[0].ID); !errors.Is(err, spool.ErrAlreadySent) {
				t.Error(err)
			}
		})
	}
}
