package spool_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/remora-mq/remora/internal/kv"
	"github.com/remora-mq/remora/message"
	"github.com/remora-mq/remora/spool"
)

// after and until are drafts that have to wait.
func after(d spool.Draft, delay time.Duration) spool.Draft {
	d.Delay = delay
	return d
}

func until(d spool.Draft, at time.Time) spool.Draft {
	d.DeliverAt = at
	return d
}

// timed is a rig on a clock that only the test moves.
func timed(t *testing.T, opts spool.Options) (*rig, *clock) {
	t.Helper()
	c := newClock()
	c.rule(&opts)
	return newRig(t, opts), c
}

// rule makes c both clocks of a spool.
func (c *clock) rule(opts *spool.Options) {
	began := c.now()
	opts.Now, opts.Elapsed = c.now, func() time.Duration { return c.now().Sub(began) }
}

// pass lets time go on, and waits until delayed are left.
func (r *rig) pass(c *clock, d time.Duration, delayed uint64) {
	r.t.Helper()
	c.advance(d)
	r.awaitDelayed(delayed)
}

func (r *rig) awaitDelayed(n uint64) {
	r.t.Helper()
	for began := time.Now(); r.Ledger().Total.InSpool.Delayed != n; {
		if r.WakeDue(); time.Since(began) > time.Minute {
			r.t.Fatalf("%d messages are delayed, want %d", r.Ledger().Total.InSpool.Delayed, n)
		}
		time.Sleep(time.Millisecond)
	}
	r.Flush() // the ledger tells of a commit before it is on disk
}

// leaseSome leases n messages, whatever keeps them from being leased at once.
func (r *rig) leaseSome(topic string, n int) (all []*spool.Lease) {
	r.t.Helper()
	for len(all) < n {
		all = append(all, r.lease(topic, n-len(all))...)
	}
	return all
}

// awaitWatched waits until a call waits for the end of a message.
func (r *rig) awaitWatched(id message.ID) {
	r.t.Helper()
	eventually(r.t, func() bool { return r.Watched(id) })
}

func (r *rig) awaitSeen() {
	r.t.Helper()
	for began := time.Now(); len(r.Damage().Seen) == 0; {
		if r.WakeDue(); time.Since(began) > time.Minute {
			r.t.Fatal("no damage is noticed")
		}
		time.Sleep(time.Millisecond)
	}
}

// bulky does not fit into a record.
func bulky(d spool.Draft) spool.Draft {
	d.Body = append(d.Body, strings.Repeat(" large", 20_000)...)
	return d
}

func TestDelayedMessagesArePendingWhenTheyAreDue(t *testing.T) {
	for name, again := range map[string]func(*rig){
		"while it is open":  func(*rig) {},
		"after a reopening": (*rig).reopen,
		"after a kill":      (*rig).kill,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r, c := timed(t, spool.Options{})
			all := r.accept(
				draft("t", "at once"), after(bulky(draft("t", "third")), 3*time.Hour), until(draft("t", "first"), c.now().Add(time.Hour)),
				until(draft("t", "late"), c.now().Add(-time.Hour)), after(under("key", draft("t", "second")), 2*time.Hour), draft("t", "too"),
			)
			for i, want := range []message.State{message.StatePending, message.StateDelayed, message.StateDelayed, message.StatePending, message.StateDelayed, message.StatePending} {
				if all[i].State != want || all[i].DeliverAt.IsZero() == (want == message.StateDelayed) {
					t.Fatalf("accepted %+v, want %s", all[i], want)
				}
			}
			r.confirm(r.leaseSome("t", 3))
			r.committed()
			again(r)
			if n := r.balanced().Ledger.Total; n.InSpool.Delayed != 3 || n.Accepted != 6 || n.Confirmed != 3 {
				t.Fatalf("the ledger is %+v", n)
			}
			got, err := r.Receipt(t.Context(), all[1].ID)
			if err != nil || got.State != message.StateDelayed || !got.DeliverAt.Equal(all[1].AcceptedAt.Add(3*time.Hour)) {
				t.Fatalf("the receipt is %+v, %v", got, err)
			}
			r.none("t")
			for i, want := range []struct {
				body string
				id   message.ID
			}{{"first", all[2].ID}, {"second", all[4].ID}, {"third", all[1].ID}} {
				r.pass(c, time.Hour-time.Millisecond, uint64(3-i))
				r.none("t")
				r.pass(c, time.Millisecond, uint64(2-i))
				again(r)
				leases := r.lease("t", 0)
				if len(leases) != 1 || leases[0].ID != want.id || !strings.HasPrefix(string(leases[0].Body), want.body) || leases[0].TopicSeq != uint64(4+i) {
					t.Fatalf("leased %+v, want %s", leases[0].Message, want.body)
				}
				if got, err := r.Receipt(t.Context(), want.id); err != nil || got.State != message.StateInFlight || !got.DeliverAt.IsZero() {
					t.Fatalf("the receipt is %+v, %v", got, err)
				}
				r.confirm(leases)
			}
			r.committed()
			again(r)
			if n := r.balanced().Ledger.Total; n.Accepted != 6 || n.Confirmed != 6 || n.InSpool.Pending != 0 {
				t.Fatalf("in the end the ledger is %+v", n)
			}
		})
	}
}

// A key is one message, whether it is delayed, moved or sent.
func TestKeyOfADelayedMessage(t *testing.T) {
	r, c := timed(t, spool.Options{})
	d := after(under("key", draft("t", "1")), time.Hour)
	first := r.accept(d)[0]
	same := func(state message.State) {
		t.Helper()
		got := r.accept(d)[0]
		if !got.Duplicate || got.ID != first.ID || got.State != state {
			t.Fatalf("a repeat is %+v, want %s", got, state)
		}
	}
	same(message.StateDelayed)
	r.kill()
	same(message.StateDelayed)
	r.pass(c, time.Hour, 0)
	same(message.StatePending)
	r.kill()
	same(message.StatePending)
	c.advance(100 * time.Hour) // all keys that may go do
	if err := r.Expire(); err != nil {
		t.Fatal(err)
	}
	same(message.StatePending)
	r.kill()
	same(message.StatePending)
	r.confirm(r.lease("t", 1))
	same(message.StateConfirmed)
	r.reopen()
	same(message.StateConfirmed)
	if n := r.balanced().Ledger.Total; n.Accepted != 1 || n.Confirmed != 1 {
		t.Fatalf("the ledger is %+v", n)
	}
}

func TestDelayedMessagesAreCancelled(t *testing.T) {
	r, c := timed(t, spool.Options{})
	all := r.accept(after(draft("t", "1"), time.Hour), after(bulky(draft("t", "2")), time.Hour), after(draft("t", "3"), time.Hour), draft("t", "4"))
	r.lease("t", 0)
	r.kill() // attempts may have gone as far as any sequence
	if _, err := r.RetryNow(t.Context(), all[0].ID); !errors.Is(err, spool.ErrWrongState) || !strings.Contains(err.Error(), "delayed until") {
		t.Fatalf("retry: %v", err)
	}
	for _, m := range all[:2] {
		if got, err := r.Cancel(t.Context(), m.ID); err != nil || got.State != message.StateCancelled {
			t.Fatalf("cancelled %+v, %v", got, err)
		}
	}
	r.kill()
	for _, m := range all[:2] {
		if got, err := r.Cancel(t.Context(), m.ID); err != nil || got.State != message.StateCancelled {
			t.Fatalf("cancelled again %+v, %v", got, err)
		}
	}
	r.pass(c, 2*time.Hour, 0)
	if got := bodies(r.leaseSome("t", 2)); !slices.Equal(got, []string{"4", "3"}) {
		t.Fatalf("leased %q", got)
	}
	if _, err := r.Cancel(t.Context(), all[2].ID); !errors.Is(err, spool.ErrAlreadySent) {
		t.Fatalf("cancel in flight: %v", err)
	}
	if n := r.balanced().Ledger.Total; n.Cancelled != 2 || n.Accepted != 4 {
		t.Fatalf("the ledger is %+v", n)
	}
}

// Cancels that meet the moment at which a message is due: each of them finds it,
// where it was or where it is.
func TestCancelMeetsTheDueTime(t *testing.T) {
	r, c := timed(t, spool.Options{})
	all := r.meetTheDueTime(c, 800, func(id message.ID) {
		if got, err := r.Cancel(t.Context(), id); err != nil || got.State != message.StateCancelled {
			t.Errorf("cancelled %+v, %v", got, err)
		}
	})
	r.none("t")
	if n := r.balanced().Ledger.Total; n.Cancelled != uint64(len(all)) || n.InSpool.Held() != 0 {
		t.Errorf("the ledger is %+v", n)
	}
}

// Wait goes on when a delayed message becomes pending.
func TestWaitOverTheDueTime(t *testing.T) {
	r, c := timed(t, spool.Options{})
	id := r.accept(after(draft("t", "1"), time.Hour))[0].ID
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	got := make(chan message.Receipt)
	go func() {
		m, err := r.Wait(ctx, id)
		if err != nil {
			t.Error(err)
		}
		got <- m
	}()
	r.awaitWatched(id)
	r.pass(c, time.Hour, 0)
	r.awaitWatched(id) // under its new sequence
	r.confirm(r.lease("t", 1))
	if m := <-got; m.State != message.StateConfirmed {
		t.Errorf("waited for %+v", m)
	}
}

// Delayed messages are in pages of their own, and one that becomes pending between
// two pages is on a later one.
func TestDelayedMessagesAreListed(t *testing.T) {
	r, c := timed(t, spool.Options{})
	for n := range 5 {
		r.accept(after(draft("t", fmt.Sprint("late ", n)), time.Hour), draft("t", fmt.Sprint("soon ", n)), after(draft("u", "other"), time.Hour))
	}
	q := spool.Query{Topic: "t", States: []message.State{message.StateDelayed}, Limit: 2, Content: true}
	page, err := r.List(t.Context(), q)
	if err != nil || len(page.Items) != 2 || page.Items[0].State != message.StateDelayed || page.Items[0].DeliverAt.IsZero() {
		t.Fatalf("listed %+v, %v", page, err)
	}
	q.States, q.Cursor = nil, page.Next
	r.pass(c, time.Hour, 0)
	seen := map[string]bool{}
	for q.Cursor != "" {
		page, err := r.List(t.Context(), q)
		if err != nil {
			t.Fatal(err)
		}
		for _, i := range page.Items {
			seen[string(i.Message.Body)] = true
		}
		q.Cursor = page.Next
	}
	if len(seen) != 10 {
		t.Errorf("listed %d of 10 that are held: %v", len(seen), seen)
	}
}

// Very many delayed messages take no memory, and what is due is found without
// looking at the others, nor at those that were before.
func TestDueMessagesAreFoundBySeeking(t *testing.T) {
	r, c := timed(t, spool.Options{})
	var drafts []spool.Draft
	for n := range 1000 {
		drafts = append(drafts, after(draft("t", fmt.Sprint(n)), time.Duration(n/500+1)*time.Hour))
	}
	r.accept(drafts...)
	if n := r.Windows(); n != 0 {
		t.Errorf("%d bytes of delayed messages are in memory", n)
	}
	r.pass(c, time.Hour, 500)
	if !r.DueBehind(c.now()) {
		t.Error("what was moved is passed over again")
	}
	read := r.DueReads()
	r.accept(after(draft("t", "another"), time.Minute))
	r.pass(c, time.Minute, 500)
	if n := r.DueReads() - read; n > 4 {
		t.Errorf("%d entries of the index were read for one message", n)
	}
}

// A wall clock that is set back puts off what is to be delivered at a time, and
// not what is to be delivered after some time.
func TestDelaysFollowTheirClocks(t *testing.T) {
	wall, elapsed := newClock(), newClock()
	opts := spool.Options{Now: wall.now}
	began := elapsed.now()
	opts.Elapsed = func() time.Duration { return elapsed.now().Sub(began) }
	opts.LeaseFor = 1000 * time.Hour
	r := newRig(t, opts)
	r.accept(until(draft("t", "by the wall clock"), wall.now().Add(time.Hour)), after(draft("t", "after an hour"), time.Hour))
	wall.advance(-24 * time.Hour)
	elapsed.advance(time.Hour)
	r.awaitDelayed(1)
	if got := bodies(r.lease("t", 0)); !slices.Equal(got, []string{"after an hour"}) {
		t.Fatalf("leased %q", got)
	}
	r.accept(until(draft("t", "yesterday"), wall.now().Add(time.Minute)))
	wall.advance(time.Minute)
	r.awaitDelayed(1)
	wall.advance(25 * time.Hour)
	r.awaitDelayed(0)
	if got := bodies(r.leaseSome("t", 2)); !slices.Equal(got, []string{"yesterday", "by the wall clock"}) {
		t.Fatalf("leased %q", got)
	}
}

// Over a restart the spool's time does not go back, whatever the wall clock says.
func TestTimeDoesNotGoBackOverARestart(t *testing.T) {
	r, c := timed(t, spool.Options{})
	r.accept(after(draft("t", "1"), time.Hour))
	c.advance(50 * time.Minute)
	r.accept(after(draft("t", "2"), time.Hour)) // which notes the time
	r.close()
	wall, elapsed := newClock(), newClock()
	wall.advance(-1000 * time.Hour)
	began := elapsed.now()
	r.opts.Now, r.opts.Elapsed = wall.now, func() time.Duration { return elapsed.now().Sub(began) }
	r.open()
	elapsed.advance(10 * time.Minute)
	r.awaitDelayed(1)
	elapsed.advance(49 * time.Minute)
	r.awaitDelayed(1)
	elapsed.advance(time.Minute)
	r.awaitDelayed(0)
}

// Released within 100 ms of its time, by the clock of a real process under load.
func TestDueInTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRigOn(t, spool.Options{}, kv.Options{})
		want := map[string]time.Time{}
		for n := range 200 {
			delay := time.Duration(n*37+1) * time.Millisecond
			body := fmt.Sprint(n)
			want[body] = time.Now().Add(delay)
			r.accept(after(draft("t", body), delay))
		}
		for len(want) > 0 {
			leases := r.lease("t", 0)
			for _, l := range leases {
				due := want[string(l.Body)]
				if late := time.Since(due); late < -time.Millisecond || late > 100*time.Millisecond {
					t.Errorf("message %s is %v late", l.Body, late)
				}
				delete(want, string(l.Body))
			}
			r.confirm(leases)
		}
		r.close()
	})
}

// An entry that is damaged, or missing, costs its message or nothing; the index of
// due times is rebuilt.
func TestDamagedDelayedMessages(t *testing.T) {
	for name, c := range map[string]struct {
		do   func(*rig)
		lost uint64
		seen bool
	}{
		"a message": {func(r *rig) { r.damaged("sy", flipLast) }, 1, true},
		"the index": {func(r *rig) {
			r.removed("sq")
		}, 0, true},
		"the index's keys": {func(r *rig) {
			r.behind(func(tx *kv.Tx) { tx.Set([]byte("sqe\x00\x00\x00too short"), []byte("?")) })
		}, 0, true},
		"their topic": {func(r *rig) { r.damaged("st", flipLast) }, 0, false},
		"the head":    {func(r *rig) { r.damaged("sh", flipLast) }, 0, false},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r, clock := timed(t, spool.Options{})
			r.accept(draft("t", "0"), after(draft("t", "1"), time.Hour), after(draft("t", "2"), 2*time.Hour))
			eventually(t, r.DueKnown) // else it may be noticed now, and written again by the next opening
			c.do(r)
			r.kill()
			if clock.advance(time.Hour); c.seen { // when it is due
				r.awaitSeen()
			} else {
				r.awaitDelayed(1)
			}
			clock.advance(-time.Hour)
			r.reopen()
			if n := r.Ledger().Total; n.Lost != c.lost || n.InSpool.Delayed == 0 {
				t.Fatalf("the ledger is %+v, the damage %+v", n, r.Damage())
			}
			if d := r.Damage().Reports; c.lost > 0 && (len(d) == 0 || len(d[0].Sequences) != 1 || d[0].Sequences[0].Topic != "t") {
				t.Fatalf("the damage is %+v", d)
			}
			if _, err := r.AcknowledgeDamage(t.Context()); err != nil {
				t.Fatal(err)
			}
			r.reopen()
			r.balanced()
			r.pass(clock, 2*time.Hour, 0)
			if got := len(r.leaseSome("t", int(3-c.lost))); got != int(3-c.lost) {
				t.Errorf("%d messages are pending", got)
			}
			r.balanced()
		})
	}
}

// What is wrong with delayed messages is found by an independent count.
func TestAuditOfDelayedMessages(t *testing.T) {
	for name, c := range map[string]struct {
		do   func(*rig)
		says string
	}{
		"a message is gone":    {func(r *rig) { r.removed("sy") }, "1 delayed, 0 were read"},
		"a message is damaged": {func(r *rig) { r.damaged("sy", flipLast) }, "damaged"},
		"its time is gone":     {func(r *rig) { r.removed("sq") }, "when it is due"},
	} {
		t.Run(name, func(t *testing.T) {
			r, _ := timed(t, spool.Options{})
			r.accept(draft("t", "1"), after(draft("t", "2"), time.Hour))
			r.balanced()
			c.do(r)
			a, err := r.Audit(t.Context())
			if err != nil || a.Balanced || !slices.Equal(a.Missing, []uint64{1}) || // what waits has its place before the others
				!strings.Contains(strings.Join(a.Damage, "\n"), c.says) {
				t.Errorf("%+v, %v", a, err)
			}
		})
	}
}

// Delayed messages come over in an export, and fall due where they are then.
func TestDelayedMessagesAreExported(t *testing.T) {
	from, c := timed(t, spool.Options{})
	all := from.accept(after(draft("t", "2"), 2*time.Hour), until(bulky(draft("t", "1")), c.now().Add(time.Hour)))
	opts := spool.Options{}
	c.rule(&opts)
	to := newRig(t, opts)
	if done := to.take(from.export(spool.Query{})); done.Messages != 2 {
		t.Fatalf("imported %+v", done)
	}
	to.kill()
	for i := range all {
		got, err := to.Receipt(t.Context(), all[i].ID)
		if err != nil || got.State != message.StateDelayed || !got.DeliverAt.Equal(all[i].DeliverAt) {
			t.Fatalf("imported %+v, %v", got, err)
		}
	}
	to.balanced()
	if got, err := to.Cancel(t.Context(), all[0].ID); err != nil || got.State != message.StateCancelled {
		t.Fatalf("cancelled %+v, %v", got, err)
	}
	to.pass(c, time.Hour, 0)
	if l := to.lease("t", 0); len(l) != 1 || l[0].ID != all[1].ID || !strings.HasPrefix(string(l[0].Body), "1 large") {
		t.Fatalf("leased %v", bodies(l))
	}
	to.balanced()
}
