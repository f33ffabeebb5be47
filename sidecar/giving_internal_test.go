package sidecar

import (
	"context"
	"log/slog"
	"testing"
	"time"
)

// TestSpaceIsGivenBackWhenItIsWorthIt follows a drain: nothing under load, once
// when it is over, and not again for what is left. The ballast is given up, so
// that nothing of what is used is ballast.
func TestSpaceIsGivenBackWhenItIsWorthIt(t *testing.T) {
	r := newRoom(t.TempDir(), Capacity{Limit: 1 << 30, Reserve: 1 << 20, Ballast: 1 << 29}, slog.New(slog.DiscardHandler))
	r.free.Store(1 << 40)
	calls := 0
	g := newGiving(r, func(context.Context) error { calls++; return nil })
	now := time.Unix(0, 0)
	after := func(step time.Duration, used, held int64, want int, what string) {
		t.Helper()
		now = now.Add(step)
		r.used.Store(used)
		g.consider(t.Context(), now, held, 0)
		if g.done != nil {
			<-g.done
		}
		if calls != want {
			t.Errorf("%s: %d calls, want %d", what, calls, want)
		}
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
	r := newRoom(t.TempDir(), Capacity{Limit: 48 << 20, Reserve: 1 << 20, Ballast: 12 << 20, memTable: 4 << 20}, slog.New(slog.DiscardHandler))
	r.free.Store(1 << 40)
	r.used.Store(47 << 20)
	r.full.Store(true)
	calls := 0
	g := newGiving(r, func(context.Context) error { calls++; return nil })
	g.consider(t.Context(), time.Unix(1000, 0), 0, 0)
	if g.done != nil {
		<-g.done
	}
	if calls != 1 {
		t.Errorf("%d calls with nothing held and 47 of 48 MiB taken", calls)
	}
}

// TestWhatWasGivenUpBecomesRoom: confirmed messages that were dropped at 80 % of
// the limit are given back before it is reached, however much is held; without
// any, a crowded directory waits until it is full.
func TestWhatWasGivenUpBecomesRoom(t *testing.T) {
	r := newRoom(t.TempDir(), Capacity{Limit: 1 << 30, Reserve: 1 << 20}, slog.New(slog.DiscardHandler))
	r.free.Store(1 << 40)
	r.used.Store(900 << 20)
	calls := 0
	g := newGiving(r, func(context.Context) error { calls++; return nil })
	now := time.Unix(1000, 0)
	g.busy = now
	consider := func(want int, what string) {
		t.Helper()
		g.consider(t.Context(), now, 700<<20, 0)
		if g.done != nil {
			<-g.done
		}
		if calls != want {
			t.Errorf("%s: %d calls, want %d", what, calls, want)
		}
	}
	consider(0, "nothing was dropped")
	r.dropped.Store(40 << 20)
	consider(1, "40 MiB were dropped")
	if r.dropped.Load() != 0 {
		t.Error("what was given back is still owed")
	}
}

// TestRetainedMessagesKeepNoWaste: a service that always retains something has
// its space given back when it is idle.
func TestRetainedMessagesKeepNoWaste(t *testing.T) {
	r := newRoom(t.TempDir(), Capacity{Limit: 1 << 30, Reserve: 1 << 20}, slog.New(slog.DiscardHandler))
	r.free.Store(1 << 40)
	r.used.Store(400 << 20)
	calls := 0
	g := newGiving(r, func(context.Context) error { calls++; return nil })
	g.consider(t.Context(), time.Unix(1000, 0), 1<<20, 100<<20)
	if g.done != nil {
		<-g.done
	}
	if calls != 1 {
		t.Errorf("%d calls with 400 MiB taken, 1 held and 100 retained", calls)
	}
}

// TestWhatDrainsMeanwhileIsGivenBackNext: what was settled while a call ran is
// still on the disk after it, and is not what cannot be given back.
func TestWhatDrainsMeanwhileIsGivenBackNext(t *testing.T) {
	r := newRoom(t.TempDir(), Capacity{Limit: 1 << 30, Reserve: 1 << 20}, slog.New(slog.DiscardHandler))
	r.free.Store(1 << 40)
	r.full.Store(true)
	calls := 0
	g := newGiving(r, func(context.Context) error { calls++; return nil })
	now := time.Unix(1000, 0)
	after := func(step time.Duration, used, held int64, want int, what string) {
		t.Helper()
		now = now.Add(step)
		r.used.Store(used)
		g.consider(t.Context(), now, held, 0)
		if g.done != nil {
			<-g.done
		}
		if calls != want {
			t.Errorf("%s: %d calls, want %d", what, calls, want)
		}
	}
	after(0, 900<<20, 300<<20, 1, "full of waste")
	after(time.Second, 500<<20, 50<<20, 1, "its end is seen, and 250 MiB were settled meanwhile")
	after(time.Minute, 500<<20, 50<<20, 2, "those are given back")
	after(time.Second, 300<<20, 50<<20, 2, "its end is seen")
	after(time.Minute, 300<<20, 50<<20, 2, "the rest cannot be")
}
