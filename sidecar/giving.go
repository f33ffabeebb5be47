package sidecar

import (
	"context"
	"errors"
	"math"
	"time"

	"github.com/remora-mq/remora/internal/kv"
)

const (
	// wasteShort and wasteMuch are how much can be given back, about, that makes
	// it worth reading the database: when messages are refused, and else. A small
	// spool gives back less: it is full of waste before it has as much.
	wasteShort = 32 << 20
	wasteMuch  = 64 << 20
	// giveEvery is the least time from the end of one call to the next.
	giveEvery = 15 * time.Second
	// Without need, a call waits until less than busyBytes were written a second,
	// for idleFor: under load it would cost the applications time, and compactions
	// of the normal course do what it does.
	busyBytes = 1 << 20
	idleFor   = 5 * time.Second
)

// giving has the database give back the space of what was deleted, when it is
// missed or when it is much. It belongs to the goroutine of room.keep.
type giving struct {
	room  *room
	give  func(context.Context) error // kv.DB.GiveBack
	kept  int64                       // waste that the last call has left: receipts, keys, half-empty tables
	next  time.Time
	wrote int64         // in all, when last considered
	busy  time.Time     // when much was written last
	done  chan struct{} // of the call that was made last; nil: its end was seen
	live  int64         // what was held and retained when it began: it left that
}

func newGiving(r *room, give func(context.Context) error) *giving {
	return &giving{room: r, give: give}
}

// consider makes a call if it is worth it. The call needs room itself: on a
// volume that others have filled, it would meet the full disk that it is to avoid.
//
// The end of ctx ends a call that fills the memtable. One that compacts cannot be
// ended: the database's Close waits for it.
func (g *giving) consider(ctx context.Context, now time.Time, held, retained int64) {
	if wrote := g.room.written.Load(); wrote-g.wrote > busyBytes {
		g.wrote, g.busy = wrote, now
	}
	waste := max(g.room.used.Load()-held-retained-g.room.ballastHeld()-kv.LogRoom(g.room.cap.memTable), 0)
	switch {
	case g.runs():
		return
	case g.done != nil: // it has ended since
		left := max(g.live-held-retained, 0) // while the call ran: the next one gives it back
		g.done, g.kept, g.next = nil, max(waste-left, 0), now.Add(giveEvery)
	}
	g.kept = min(g.kept, waste)
	if waste-g.kept >= g.worth(now, held, retained) && !now.Before(g.next) && g.room.free.Load() >= g.room.cap.Reserve/2 {
		g.live = held + retained
		g.start(ctx, held)
	}
}

// worth is the waste that makes a call worth it: what is held or retained is
// read, and some of it is written again. What was dropped to make room has to
// become room before messages are refused.
func (g *giving) worth(now time.Time, held, retained int64) int64 {
	short := min(wasteShort, g.room.cap.Limit/16)
	switch dropped := g.room.dropped.Load(); {
	case g.room.isLow() || g.room.full.Load():
		return max(short, (held+retained)/4)
	case dropped > 0 && g.room.crowded() > 0:
		return min(short, dropped)
	case held < wasteMuch && now.Sub(g.busy) >= idleFor:
		return max(wasteMuch, retained/2)
	}
	return math.MaxInt64
}

func (g *giving) runs() bool {
	if g.done == nil {
		return false
	}
	select {
	case <-g.done:
		return false
	default:
		return true
	}
}

func (g *giving) start(ctx context.Context, held int64) {
	done := make(chan struct{})
	g.done = done
	go func() {
		defer close(done)
		began, before := time.Now(), g.room.used.Load()
		err := g.give(ctx)
		g.room.measure()
		if err != nil {
			if !errors.Is(err, context.Canceled) && !errors.Is(err, kv.ErrClosed) {
				g.room.log.Warn("space of settled messages could not be given back; it is tried again", "error", err)
			}
			return
		}
		g.room.dropped.Store(0)
		g.room.log.Info("gave the space of settled messages back", "before_bytes", before, "after_bytes", g.room.used.Load(),
			"held_bytes", held, "took_ms", time.Since(began).Milliseconds())
	}()
}
