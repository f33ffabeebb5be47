package spool_test

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/remora-mq/remora/message"
	"github.com/remora-mq/remora/spool"
)

// clocks are a wall clock that is set and time that goes on.
type clocks struct {
	wall, elapsed *clock
	began         time.Time // of the process
}

// twoClocks is a rig on a wall clock and on time that goes on apart from it.
func twoClocks(t *testing.T, opts spool.Options) (*rig, *clocks) {
	t.Helper()
	c := &clocks{wall: newClock(), elapsed: newClock()}
	c.began = c.elapsed.now()
	opts.Now, opts.Elapsed = c.wall.now, func() time.Duration { return c.elapsed.now().Sub(c.began) }
	return newRig(t, opts), c
}

// pass lets time go on, and what is done every few seconds be done.
func (c *clocks) pass(r *rig, d time.Duration) {
	r.t.Helper()
	c.wall.advance(d)
	c.elapsed.advance(d)
	r.expire()
}

// restart closes the spool, or kills it, and opens it when the wall clock has gone
// on by down.
func (c *clocks) restart(r *rig, end func(), down time.Duration) {
	r.t.Helper()
	end()
	c.wall.advance(down)
	c.began = c.elapsed.now()
	r.open()
}

func (r *rig) steps() (by time.Duration) {
	r.t.Helper()
	step, _ := r.ClockStep()
	return step.By
}

const year = 365 * 24 * time.Hour

// A wall clock that is set by more than an hour, in either direction, while the
// spool is open or is not, ends no TTL and no idempotency key until it was steady
// for an hour, or an operator has confirmed it. What waits is sent meanwhile.
func TestAStepOfTheWallClockHoldsWhatTimeEnds(t *testing.T) {
	for _, by := range []time.Duration{61 * time.Minute, 30 * 24 * time.Hour, 7 * year, -61 * time.Minute, -30 * 24 * time.Hour, -7 * year} {
		for _, open := range []bool{true, false} {
			for _, confirmed := range []bool{true, false} {
				t.Run(fmt.Sprint(by, ", open: ", open, ", confirmed: ", confirmed), func(t *testing.T) {
					t.Parallel()
					r, c := twoClocks(t, spool.Options{DedupeWindow: time.Minute, LeaseFor: 1000 * time.Hour})
					all := r.accept(mortal(draft("t", "x"), 30*time.Minute), mortal(draft("t", "y"), 30*time.Minute), under("key", draft("u", "z")))
					r.confirm(r.lease("u", 0))
					r.Flush()
					if open {
						c.wall.advance(by)
						r.expire()
					} else {
						c.restart(r, r.close, by)
					}
					if got := r.steps(); got != by {
						t.Fatalf("it was set by %v, which is told as %v", by, got)
					}
					c.pass(r, 59*time.Minute)
					r.WakeDue()
					if !r.accept(under("key", draft("u", "z")))[0].Duplicate {
						t.Fatal("the key has gone")
					}
					leases := r.leaseSome("t", 1)
					if r.balanced(); r.receipt(all[1].ID).State != message.StatePending {
						t.Fatal("the message has expired")
					}
					r.Release(leases)
					if confirmed {
						if step, was, err := r.ConfirmClock(t.Context()); err != nil || !was || step.By != by {
							t.Fatalf("%+v, %v, %v", step, was, err)
						}
					} else {
						c.pass(r, time.Minute)
					}
					if got, is := r.ClockStep(); is {
						t.Fatalf("it is still not believed: %+v", got)
					}
					r.awaitDead(2)
					r.expiredLetter(all[0].ID)
					if r.expire(); r.accept(under("key", draft("u", "z")))[0].Duplicate {
						t.Error("the key is still known")
					}
					r.balanced()
				})
			}
		}
	}
}

// Up to an hour is no step; several together may be one.
func TestSmallStepsOfTheWallClock(t *testing.T) {
	r, c := twoClocks(t, spool.Options{})
	id := r.accept(mortal(draft("t", "x"), 90*time.Minute))[0].ID
	c.wall.advance(40 * time.Minute)
	if c.pass(r, time.Minute); r.steps() != 0 {
		t.Fatal(r.steps())
	}
	c.wall.advance(-80 * time.Minute)
	if c.pass(r, time.Minute); r.steps() != 0 {
		t.Fatal(r.steps())
	}
	c.wall.advance(-40 * time.Minute)
	if c.pass(r, time.Minute); r.steps() != -80*time.Minute {
		t.Fatal(r.steps())
	}
	c.pass(r, 59*time.Minute)
	c.wall.advance(2 * time.Hour) // and not steady since
	if c.pass(r, time.Minute); r.steps() != 2*time.Hour {
		t.Fatal(r.steps())
	}
	c.pass(r, 59*time.Minute)
	if got := r.receipt(id); got.State != message.StatePending || r.steps() == 0 {
		t.Fatalf("it is %s, the step %v", got.State, r.steps())
	}
	c.pass(r, time.Minute)
	r.awaitDead(1)
}

// A restart ends no step, and its time counts as any other.
func TestStepsSurviveARestart(t *testing.T) {
	r, c := twoClocks(t, spool.Options{})
	id := r.accept(mortal(draft("t", "x"), time.Minute))[0].ID
	c.wall.advance(5 * year)
	r.expire()
	c.pass(r, 20*time.Minute)
	c.restart(r, r.die, 20*time.Minute)
	if r.steps() != 5*year {
		t.Fatalf("it was set by %v", r.steps())
	}
	c.pass(r, 19*time.Minute)
	if got := r.receipt(id); got.State != message.StatePending {
		t.Fatalf("it is %s", got.State)
	}
	c.restart(r, r.close, time.Minute)
	if r.steps() != 0 {
		t.Fatalf("after an hour: %v", r.steps())
	}
	r.awaitDead(1)
	r.expiredLetter(id)
}

// A process that is killed was not away for as long as it had nothing to write;
// and one with nothing that time ends has nothing to hold.
func TestIdleTimeIsNoStep(t *testing.T) {
	r, c := twoClocks(t, spool.Options{})
	r.accept(mortal(draft("t", "x"), year))
	for range 20 {
		c.pass(r, 5*time.Minute)
	}
	if c.restart(r, r.die, 50*time.Minute); r.steps() != 0 {
		t.Errorf("held by %v", r.steps())
	}
	other, d := twoClocks(t, spool.Options{})
	other.accept(draft("t", "x"))
	if d.restart(other, other.close, year); other.steps() != 0 {
		t.Errorf("nothing ends, and is held by %v", other.steps())
	}
	if _, was, err := other.ConfirmClock(t.Context()); was || err != nil {
		t.Error(was, err)
	}
}

// Over their budget keys go 15 minutes after their message was settled, by time
// that is certain: not by what the wall clock says of the time that it was down.
func TestGraceOfKeysIsOfCertainTime(t *testing.T) {
	r, c := twoClocks(t, spool.Options{DedupeLimit: 1})
	r.accept(under("before", draft("t", "x")))
	r.confirm(r.lease("t", 0))
	r.Flush()
	c.restart(r, r.close, 5*time.Hour)
	r.accept(under("after", draft("t", "x")))
	r.confirm(r.lease("t", 0))
	r.Flush()
	for _, want := range []int{2, 2, 0} {
		if r.expire(); r.Known().DedupeKeys != want {
			t.Fatalf("%d keys are known, want %d", r.Known().DedupeKeys, want)
		}
		c.pass(r, 8*time.Minute)
	}
}

// The time in which nothing was written, however long it was, is none of the grace. Nor is
// what went on before the wall clock was set once more.
func TestGraceOfKeysLeavesOutTheGap(t *testing.T) {
	for again, known := range map[time.Duration][]int{0: {1, 1, 0}, 2 * time.Hour: {1, 1, 1, 0}} {
		r, c := twoClocks(t, spool.Options{DedupeLimit: 1})
		r.accept(under("key", draft("t", "x")))
		r.confirm(r.lease("t", 0))
		r.Flush()
		c.restart(r, r.close, 5*time.Hour)
		for n, want := range known {
			if r.expire(); r.Known().DedupeKeys != want {
				t.Fatalf("set again by %v: %d keys are known after %d minutes, want %d", again, r.Known().DedupeKeys, 8*n, want)
			}
			c.pass(r, 8*time.Minute)
			if n == 0 {
				c.wall.advance(again)
			}
		}
	}
}

// In the years between nothing is lost or comes twice: what is to be delivered at a
// time follows the wall clock, what is delayed does not.
func TestYearsOfTheWallClock(t *testing.T) {
	for _, by := range []time.Duration{12 * year, -12 * year} {
		r, c := twoClocks(t, spool.Options{})
		at := c.wall.now()
		for n := range 50 {
			r.accept(
				until(draft("t", fmt.Sprint("at ", n)), at.Add(6*year)), after(draft("t", fmt.Sprint("after ", n)), 5*time.Hour),
				mortal(under(fmt.Sprint("key ", n), draft("t", fmt.Sprint("mortal ", n))), 5*time.Hour), draft("t", fmt.Sprint("plain ", n)),
			)
		}
		c.wall.advance(by)
		c.pass(r, time.Minute)
		c.restart(r, r.die, time.Minute)
		due := uint64(50)
		if by < 0 {
			due = 100
		}
		r.awaitDelayed(due)
		if n := r.balanced().Ledger.Total; n.Accepted != 200 || n.InSpool.Dead != 0 || n.Discarded+n.Lost+n.Cancelled != 0 {
			t.Fatalf("%+v", n)
		}
		for range 6 {
			c.pass(r, time.Hour)
		}
		r.awaitDelayed(due - 50)
		r.awaitDead(50)
		leases := r.leaseSome("t", int(150-(due-50)))
		got := bodies(leases)
		slices.Sort(got)
		if n := len(slices.Compact(got)); n != len(leases) {
			t.Errorf("%d messages of %d", n, len(leases))
		}
		r.confirm(leases)
		r.Flush()
		r.balanced()
		if !r.accept(under("key 7", draft("t", "mortal 7")))[0].Duplicate {
			t.Error("the key of a dead letter has gone")
		}
	}
}
