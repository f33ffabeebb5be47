package sidecar

import (
	"context"
	"log/slog"
	"testing"
	"time"

	"github.com/remora-mq/remora/internal/giving"
)

// givingRig is a giver whose calls are counted, on a volume with room for them.
type givingRig struct {
	*giving.Giver

	t     *testing.T
	room  *room
	calls int
}

func newGivingRig(t *testing.T, c Capacity) *givingRig {
	t.Helper()
	r := newRoom(t.TempDir(), c, slog.New(slog.DiscardHandler))
	r.free.Store(1 << 40)
	g := &givingRig{t: t, room: r}
	g.Giver = newGiver(r, func(context.Context) error { g.calls++; return nil })
	return g
}

// wants considers, waits for the call if there is one, and compares their number.
func (g *givingRig) wants(calls int, now time.Time, held, retained int64, what string) {
	g.t.Helper()
	g.Consider(g.t.Context(), now, g.room.waste(held, retained))
	g.Wait()
	if g.calls != calls {
		g.t.Errorf("%s: %d calls, want %d", what, g.calls, calls)
	}
}

// TestSpaceIsGivenBackWhenItIsWorthIt follows a drain: nothing under load, once
// when it is over, and not again for what is left. The ballast is given up, so
// that nothing of what is used is ballast.
func TestSpaceIsGivenBackWhenItIsWorthIt(t *testing.T) {
	g := newGivingRig(t, Capacity{Limit: 1 << 30, Reserve: 1 << 20, Ballast: 1 << 29})
	r, now := g.room, time.Unix(0, 0)
	after := func(step time.Duration, used, held int64, want int, what string) {
		t.Helper()
		now = now.Add(step)
		r.used.Store(used)
		g.wants(want, now, held, 0, what)
	}
	const much = 500 << 20
	r.Wrote(much)
	after(time.Second, much, 0, 0, "under load")
	after(4*time.Second, much, 0, 0, "idle for less than 5 s")
	after(time.Second, much, 300<<20, 0, "much is held")
	after(time.Second, much, 0, 1, "idle, and empty")
	after(time.Minute, 120<<20, 0, 1, "what is left is kept")
	after(time.Minute, 150<<20, 0, 1, "little more")
	r.Wrote(much)
	r.full.Store(true)
	after(time.Minute, 150<<20, 0, 1, "full, and not worth it")
	after(time.Second, 160<<20, 0, 2, "full, and worth it")
	after(time.Second, 160<<20, 0, 2, "its end is seen")
	after(time.Second, 500<<20, 0, 2, "too soon")
	r.free.Store(1)
	after(time.Minute, 500<<20, 0, 2, "no room to do it")
}

// TestASmallSpoolGivesBackLess: it is full before it has wasted much.
func TestASmallSpoolGivesBackLess(t *testing.T) {
	g := newGivingRig(t, Capacity{Limit: 48 << 20, Reserve: 1 << 20, Ballast: 12 << 20, memTable: 4 << 20})
	g.room.used.Store(47 << 20)
	g.room.full.Store(true)
	g.wants(1, time.Unix(1000, 0), 0, 0, "nothing held and 47 of 48 MiB taken")
}

// TestWhatWasGivenUpBecomesRoom: confirmed messages that were dropped at 80 % of
// the limit are given back before it is reached, however much is held; without
// any, a crowded directory waits until it is full.
func TestWhatWasGivenUpBecomesRoom(t *testing.T) {
	g := newGivingRig(t, Capacity{Limit: 1 << 30, Reserve: 1 << 20})
	r, now := g.room, time.Unix(1000, 0)
	r.used.Store(900 << 20)
	r.Wrote(2 << 20)
	g.wants(0, now, 700<<20, 0, "nothing was dropped")
	r.dropped.Store(40 << 20)
	g.wants(1, now, 700<<20, 0, "40 MiB were dropped")
	if r.dropped.Load() != 0 {
		t.Error("what was given back is still owed")
	}
}

// TestRetainedMessagesKeepNoWaste: a service that always retains something has
// its space given back when it is idle.
func TestRetainedMessagesKeepNoWaste(t *testing.T) {
	g := newGivingRig(t, Capacity{Limit: 1 << 30, Reserve: 1 << 20})
	g.room.used.Store(400 << 20)
	g.wants(1, time.Unix(1000, 0), 1<<20, 100<<20, "400 MiB taken, 1 held and 100 retained")
}

// TestWhatDrainsMeanwhileIsGivenBackNext: what was settled while a call ran is
// still on the disk after it, and is not what cannot be given back.
func TestWhatDrainsMeanwhileIsGivenBackNext(t *testing.T) {
	g := newGivingRig(t, Capacity{Limit: 1 << 30, Reserve: 1 << 20})
	r, now := g.room, time.Unix(1000, 0)
	r.full.Store(true)
	after := func(step time.Duration, used, held int64, want int, what string) {
		t.Helper()
		now = now.Add(step)
		r.used.Store(used)
		g.wants(want, now, held, 0, what)
	}
	after(0, 900<<20, 300<<20, 1, "full of waste")
	after(time.Second, 500<<20, 50<<20, 1, "its end is seen, and 250 MiB were settled meanwhile")
	after(time.Minute, 500<<20, 50<<20, 2, "those are given back")
	after(time.Second, 300<<20, 50<<20, 2, "its end is seen")
	after(time.Minute, 300<<20, 50<<20, 2, "the rest cannot be")
}
