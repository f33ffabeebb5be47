package sidecar

import (
	"context"
	"errors"
	"time"

	"github.com/remora-mq/remora/internal/giving"
	"github.com/remora-mq/remora/internal/kv"
)

// wasteShort is how much can be given back, about, that makes it worth it when messages
// are refused. A small spool gives back less: it is full of waste before it has as much.
const wasteShort = 32 << 20

// newGiver has the database give back the space of what was deleted (kv.DB.GiveBack), when
// it is missed or when it is much.
//
// The end of its context ends a call that fills the memtable. One that compacts cannot be
// ended: the database's Close waits for it.
func newGiver(r *room, give func(context.Context) error) *giving.Giver {
	return giving.New(func(ctx context.Context, at giving.State) {
		began := time.Now()
		err := give(ctx)
		r.measure()
		if err != nil {
			if !errors.Is(err, context.Canceled) && !errors.Is(err, kv.ErrClosed) {
				r.log.Warn("space of settled messages could not be given back; it is tried again", "error", err)
			}
			return
		}
		r.dropped.Store(0)
		r.log.Info("gave the space of settled messages back", "before_bytes", at.Used, "after_bytes", r.used.Load(),
			"held_bytes", at.Held, "took_ms", time.Since(began).Milliseconds())
	})
}

// waste is what a giver looks at.
func (r *room) waste(held, retained int64) giving.State {
	return giving.State{
		Wrote: r.written.Load(), Used: r.used.Load(), Held: held, Retained: retained,
		Fixed:  r.ballastHeld() + kv.LogRoom(r.cap.memTable),
		Enough: r.missed(held + retained),
	}
}

// missed is the waste that makes a call worth it, for want of room; 0: there is room. What
// was dropped to make room has to become room before messages are refused. A call needs
// room itself: on a volume that others have filled, it would meet the full disk that it is
// to avoid.
func (r *room) missed(live int64) int64 {
	short := min(wasteShort, r.cap.Limit/16)
	switch dropped := r.dropped.Load(); {
	case r.free.Load() < r.cap.Reserve/2:
		return giving.Never
	case r.isLow() || r.full.Load():
		return max(short, live/4)
	case dropped > 0 && r.crowded() > 0:
		return min(short, dropped)
	}
	return 0
}
