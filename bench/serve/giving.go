package serve

import (
	"context"
	"log/slog"
	"time"

	"github.com/remora-mq/remora/internal/kv"
	"github.com/remora-mq/remora/internal/volume"
)

const (
	// givenFor is how much can be given back, about, that makes it worth it.
	givenFor = 64 << 20
	// quietFor is how long little is written before that.
	quietFor  = 5 * time.Second
	quietRate = 1 << 20 // bytes a second
)

// giveBack returns the space of settled messages as the sidecar does that has
// nothing else to do (sidecar/giving.go), until ctx is done.
func (s *spooled) giveBack(ctx context.Context, dir string, log *slog.Logger) {
	tick := time.NewTicker(time.Second)
	defer tick.Stop()
	var g giver
	look := func() sizes {
		used, err := volume.Allocated(dir)
		if err != nil {
			log.Warn("the folder of the spool cannot be measured", "error", err)
		}
		return sizes{wrote: s.db.Stats().Bytes, held: s.Ledger().Total.Bytes, used: uint64(used)}
	}
	for {
		select {
		case <-tick.C:
		case <-ctx.Done():
			return
		}
		before := look()
		if !g.due(time.Now(), before) {
			continue
		}
		if err := s.db.GiveBack(ctx); err != nil && ctx.Err() == nil {
			log.Warn("space of settled messages could not be given back", "error", err)
		}
		g.given(before, look())
	}
}

// sizes are what there is at a moment, in bytes.
type sizes struct {
	wrote uint64 // ever
	held  uint64 // by messages
	used  uint64 // on the disk
}

// waste is what is neither held nor a log.
func (s sizes) waste() uint64 { return s.used - min(s.held+uint64(kv.LogRoom(0)), s.used) }

// giver knows when it is worth it. It is asked once a second.
type giver struct {
	last uint64    // bytes written, when last asked
	kept uint64    // waste that the last time has left: receipts, keys, half-empty tables
	busy time.Time // when much was written last
}

func (g *giver) due(now time.Time, s sizes) bool {
	if s.wrote-g.last > quietRate {
		g.busy = now
	}
	g.last = s.wrote
	g.kept = min(g.kept, s.waste())
	return s.waste()-g.kept >= givenFor && s.held < givenFor && now.Sub(g.busy) >= quietFor
}

// given takes over what was left: what was settled meanwhile is for the next time.
func (g *giver) given(before, after sizes) {
	settled := before.held - min(after.held, before.held)
	g.last, g.kept = after.wrote, after.waste()-min(settled, after.waste())
}
