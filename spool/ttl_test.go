package spool_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/remora-mq/remora/message"
	"github.com/remora-mq/remora/spool"
)

// mortal is a draft with a TTL.
func mortal(d spool.Draft, ttl time.Duration) spool.Draft {
	d.TTL = ttl
	return d
}

// awaitDead waits until so many messages are dead letters.
func (r *rig) awaitDead(n uint64) {
	r.t.Helper()
	for began := time.Now(); r.Ledger().Total.InSpool.Dead != n; {
		if r.WakeDue(); time.Since(began) > time.Minute {
			r.t.Fatalf("%d messages are dead letters, want %d", r.Ledger().Total.InSpool.Dead, n)
		}
		time.Sleep(time.Millisecond)
	}
	r.Flush() // and they are on disk
}

// expiredLetter returns a message that expired.
func (r *rig) expiredLetter(id message.ID) spool.Item {
	r.t.Helper()
	i, err := r.Find(context.Background(), id)
	if err != nil || i.State != message.StateDead || i.Reason != spool.ReasonExpired {
		r.t.Fatalf("%s for %q, %v", i.State, i.Reason, err)
	}
	events := i.History.Events()
	if last := events[len(events)-1]; last.Name != "dead" || !strings.Contains(last.Detail, "within its TTL of "+i.Message.TTL.String()) {
		r.t.Fatalf("its history ends with %+v", last)
	}
	return i
}

// restarts are what may be between two steps of a test.
func restarts() map[string]func(*rig) {
	return map[string]func(*rig){"while it is open": func(*rig) {}, "after a reopening": (*rig).reopen, "after a kill": (*rig).kill}
}

// What is not confirmed within its TTL is a dead letter, wherever it is; nothing
// else is.
func TestMessagesExpire(t *testing.T) {
	for name, again := range restarts() {
		for _, window := range []int64{0, 1} {
			t.Run(fmt.Sprint(name, ", window ", window), func(t *testing.T) {
				r, c := timed(t, spool.Options{Window: window})
				r.accept(draft("t", "for ever"))
				all := r.accept(
					mortal(draft("t", "first"), time.Hour), mortal(bulky(draft("t", "second")), 2*time.Hour), mortal(draft("t", "on hold"), 2*time.Hour),
					draft("t", "too"), mortal(under("key", draft("t", "third")), 3*time.Hour-time.Nanosecond),
				)
				r.putOnHold(all[2].ID)
				again(r)
				for hour, dead := range []uint64{0, 1, 3, 4} {
					r.awaitDead(dead)
					if n := r.balanced().Ledger.Total; n.InSpool.Dead != dead || n.InSpool.Pending != 6-dead || n.Accepted != 6 {
						t.Fatalf("hour %d: the ledger is %+v", hour, n)
					}
					if hour < 3 {
						c.advance(time.Hour - time.Millisecond)
						r.WakeDue()
						r.Flush()
						r.awaitDead(dead)
						c.advance(time.Millisecond)
					}
					again(r)
				}
				for n, body := range map[int]string{0: "first", 1: "second large", 2: "on hold", 4: "third"} {
					if i := r.expiredLetter(all[n].ID); !strings.HasPrefix(string(i.Message.Body), body) || i.OnHold || !i.Message.ExpiresAt.IsZero() {
						t.Errorf("%+v, want %s", i, body)
					}
				}
				if r := r.accept(under("key", draft("t", "third")))[0]; !r.Duplicate || r.State != message.StateDead {
					t.Errorf("a repeat of its key: %+v", r)
				}
				for _, want := range []string{"for ever", "too"} {
					leases := r.lease("t", 1)
					if got := bodies(leases); !slices.Equal(got, []string{want}) {
						t.Errorf("leased %q, want %s", got, want)
					}
					r.confirm(leases)
				}
				if entries := r.find("sq"); len(entries) != 0 {
					t.Errorf("%d entries are left in the index", len(entries))
				}
			})
		}
	}
}

// While an attempt is under way its outcome decides.
func TestExpiryWaitsForTheOutcome(t *testing.T) {
	tests := map[string]struct {
		outcome func(*rig, *clock, []*spool.Lease)
		dead    bool
		maybe   bool
	}{
		"confirmed": {func(r *rig, _ *clock, l []*spool.Lease) { r.confirm(l) }, false, false},
		"known not stored": {func(r *rig, c *clock, l []*spool.Lease) {
			r.Retry(l, c.now().Add(time.Hour), message.OutcomeRetryable, "no")
		}, true, false},
		"unknown": {func(r *rig, c *clock, l []*spool.Lease) {
			r.Retry(l, c.now().Add(time.Hour), message.OutcomeUnknown, "no answer")
		}, true, true},
		"given back":       {func(r *rig, _ *clock, l []*spool.Lease) { r.Release(l) }, true, false},
		"lapsed":           {func(_ *rig, c *clock, _ []*spool.Lease) { c.advance(2 * time.Hour) }, true, true},
		"the process dies": {func(r *rig, _ *clock, _ []*spool.Lease) { r.kill() }, true, true},
	}
	for name, tc := range tests {
		t.Run(name, func(t *testing.T) {
			r, c := timed(t, spool.Options{LeaseFor: time.Hour})
			flying := r.accept(mortal(draft("t", "flying"), time.Minute))[0]
			leases := r.lease("t", 1)
			waits := r.accept(mortal(draft("u", "waits"), 2*time.Minute))[0]
			c.advance(3 * time.Minute)
			r.awaitDead(1) // of which the first was looked at before
			r.expiredLetter(waits.ID)
			if got := r.receipt(flying.ID); got.State != message.StateInFlight {
				t.Fatalf("in flight it became %s", got.State)
			}
			tc.outcome(r, c, leases)
			if !tc.dead {
				r.Flush()
				if got := r.receipt(flying.ID); got.State != message.StateConfirmed {
					t.Fatalf("confirmed, and then %s", got.State)
				}
				r.balanced()
				return
			}
			r.awaitDead(2)
			if got := r.expiredLetter(flying.ID); got.MaybeSent != tc.maybe || got.Attempts != len(got.History.Events())-2 {
				t.Errorf("maybe delivered: %v, want %v; %+v", got.MaybeSent, tc.maybe, got.Receipt)
			}
			r.balanced()
		})
	}
}

// What has expired is not sent, nor what comes behind it under its ordering key,
// also while it cannot become a dead letter because the volume has no room.
func TestExpiredMessagesAreNotSent(t *testing.T) {
	v := &volume{}
	r, c := timed(t, spool.Options{Space: v})
	late := mortal(keyed("t", "late", "k"), time.Minute)
	r.accept(late, keyed("t", "behind it", "k"), draft("t", "another"))
	v.spent.Store(true)
	c.advance(time.Hour)
	for began := time.Now(); v.asked.Load() < 2; time.Sleep(time.Millisecond) {
		if r.WakeDue(); time.Since(began) > time.Minute {
			t.Fatal("nobody asked for room")
		}
	}
	if got := bodies(r.lease("t", 0)); !slices.Equal(got, []string{"another"}) {
		t.Fatalf("leased %q", got)
	}
	r.none("t")
	if r.balanced(); r.Ledger().Total.InSpool != (spool.InSpool{Pending: 2, InFlight: 1}) {
		t.Fatalf("%+v", r.Ledger().Total.InSpool)
	}
	v.spent.Store(false)
	r.awaitDead(1)
	if got := bodies(r.lease("t", 0)); !slices.Equal(got, []string{"behind it"}) {
		t.Fatalf("leased %q", got)
	}
}

// The TTL of a delayed message begins when it is due.
func TestTTLOfADelayedMessage(t *testing.T) {
	for name, again := range restarts() {
		t.Run(name, func(t *testing.T) {
			r, c := timed(t, spool.Options{})
			id := r.accept(mortal(after(bulky(draft("t", "x")), 5*time.Hour), time.Hour))[0].ID
			again(r)
			c.advance(2 * time.Hour)
			again(r)
			r.balanced()
			if got := r.receipt(id); got.State != message.StateDelayed {
				t.Fatalf("it is %s", got.State)
			}
			r.pass(c, 3*time.Hour, 0)
			again(r)
			if i, err := r.Find(t.Context(), id); err != nil || !i.Message.ExpiresAt.Equal(c.now().Add(time.Hour)) {
				t.Fatalf("%+v, %v", i.Message, err)
			}
			c.advance(time.Hour - time.Millisecond)
			r.WakeDue()
			r.balanced()
			r.awaitDead(0)
			c.advance(time.Millisecond)
			r.awaitDead(1)
			again(r)
			r.expiredLetter(id)
			r.balanced()
		})
	}
}

// Who redrives a dead letter wants it sent: its TTL is over.
func TestRedrivenMessagesDoNotExpire(t *testing.T) {
	for name, again := range restarts() {
		t.Run(name, func(t *testing.T) {
			r, c := timed(t, spool.Options{})
			expired := r.accept(mortal(draft("t", "expired"), time.Hour), mortal(draft("t", "refused"), time.Hour))
			r.bury(r.leaseSome("t", 2)[1])
			r.Release(nil)
			r.kill()
			c.advance(time.Hour)
			r.awaitDead(2)
			_, refused, err := r.Redrive(t.Context(), []message.ID{expired[0].ID, expired[1].ID})
			if err != nil || len(refused) != 0 {
				t.Fatal(refused, err)
			}
			again(r)
			c.advance(1000 * time.Hour)
			r.WakeDue()
			r.balanced()
			leases := r.leaseSome("t", 2)
			if got := bodies(leases); !slices.Equal(got, []string{"expired", "refused"}) {
				t.Fatalf("leased %q", got)
			}
			r.bury(leases[1]) // and dies again
			r.confirm(leases[:1])
			again(r)
			if n := r.balanced().Ledger.Total; n.InSpool.Dead != 1 {
				t.Errorf("%+v", n)
			}
		})
	}
}

// With the message goes its place in the index, whatever ends it.
func TestTTLEndsWithTheMessage(t *testing.T) {
	r, c := timed(t, spool.Options{RetainFor: 1000 * time.Hour, RetainBytes: 1 << 30})
	var all []spool.Draft
	for range 7 {
		all = append(all, mortal(draft("t", "x"), time.Hour))
	}
	ids := r.accept(all...)
	r.cancelled(ids[6].ID)
	r.putOnHold(ids[5].ID)
	r.cancelled(ids[5].ID)
	r.putOnHold(ids[4].ID)
	r.releaseHeld(ids[4].ID)
	leases := r.leaseSome("t", 5)
	r.confirm(leases[:2])
	r.bury(leases[2])
	r.Release(leases[3:])
	r.Flush()
	if n := len(r.find("sq")); n != 2 {
		t.Errorf("%d entries are left in the index, want 2", n)
	}
	r.balanced()
	if _, err := r.Resend(t.Context(), spool.ResendFilter{}, false); err != nil {
		t.Fatal(err)
	}
	c.advance(time.Hour)
	r.awaitDead(3)
	if got := r.lease("t", 0); len(got) != 2 { // copies have no TTL
		t.Errorf("%d copies are sent", len(got))
	}
	if n := r.Expired(); n != 2 {
		t.Errorf("%d are counted", n)
	}
}

// A TTL goes on elsewhere, and one that is over there ends there.
func TestTTLTravelsWithAnExport(t *testing.T) {
	from, c := timed(t, spool.Options{})
	all := from.accept(
		mortal(draft("t", "soon"), 10*time.Minute), mortal(draft("t", "later"), 3*time.Hour), mortal(after(draft("t", "delayed"), time.Hour), time.Hour),
		mortal(draft("t", "expired"), time.Minute), mortal(draft("t", "redriven"), time.Minute),
	)
	c.advance(time.Minute)
	from.awaitDead(2)
	if _, _, err := from.Redrive(t.Context(), []message.ID{all[4].ID}); err != nil {
		t.Fatal(err)
	}
	export := from.export(spool.Query{})
	c.advance(time.Hour)
	to := newRig(t, spool.Options{Now: c.now, Elapsed: from.opts.Elapsed})
	to.accept(draft("t", "own"))
	to.take(export)
	to.awaitDead(2)
	to.awaitDelayed(0)
	to.expiredLetter(all[0].ID)
	c.advance(time.Hour)
	to.awaitDead(3)
	to.expiredLetter(all[2].ID)
	to.kill()
	c.advance(58 * time.Minute)
	to.awaitDead(3)
	c.advance(time.Minute)
	to.awaitDead(4)
	to.expiredLetter(all[1].ID)
	if got := to.receipt(all[4].ID); got.State != message.StatePending {
		t.Errorf("what was redriven is %s", got.State)
	}
	to.balanced()
}

func TestExportsOfTTLsAreChecked(t *testing.T) {
	from, _ := timed(t, spool.Options{})
	from.accept(mortal(draft("t", "x"), time.Minute))
	good := string(from.export(spool.Query{}))
	for name, change := range map[string][2]string{
		"no duration":        {`"ttl":"1m0s"`, `"ttl":"soon"`},
		"negative":           {`"ttl":"1m0s"`, `"ttl":"-1m"`},
		"of an age":          {`"ttl":"1m0s"`, `"ttl":"2000000h"`},
		"parts":              {`"ttl":"1m0s"`, `"ttl":"1ns"`},
		"no end":             {`"expires_at"`, `"settled_at"`},
		"an end and no TTL":  {`"ttl":"1m0s",`, ``},
		"an impossible end":  {`"expires_at":"2026`, `"expires_at":"1026`},
		"a dead letter with": {`"state":"pending"`, `"state":"dead"`},
		"an older format":    {`"remora_export":3`, `"remora_export":2`},
	} {
		to := newRig(t, spool.Options{})
		lines := strings.SplitAfter(strings.Replace(good, change[0], change[1], 1), "\n")
		if done, err := to.Import(t.Context(), strings.NewReader(string(whole(resealed(lines[:2])))), false); !errors.Is(err, spool.ErrExport) || done.Messages != 0 {
			t.Errorf("%s: %+v, %v", name, done, err)
		}
	}
}

// Who has leased messages and not begun the attempt gives back what has expired
// meanwhile.
func TestExpiredLeasesAreGivenBack(t *testing.T) {
	r, c := timed(t, spool.Options{})
	all := r.accept(mortal(draft("t", "late"), time.Minute), draft("t", "for ever"), mortal(draft("t", "in time"), time.Hour))
	leases := r.leaseSome("t", 3)
	if got := r.Current(leases); len(got) != 3 {
		t.Fatalf("%q are left", bodies(got))
	}
	c.advance(time.Minute)
	leases = r.Current(leases)
	if got := bodies(leases); !slices.Equal(got, []string{"for ever", "in time"}) {
		t.Fatalf("%q are left", got)
	}
	r.awaitDead(1)
	if got := r.expiredLetter(all[0].ID); got.MaybeSent || got.Attempts != 0 {
		t.Errorf("%+v", got.Receipt)
	}
	r.confirm(leases)
	r.Flush()
	if n := r.balanced().Ledger.Total; n.Confirmed != 2 {
		t.Errorf("%+v", n)
	}
}
