package serve

import (
	"context"
	"log/slog"
	"time"
)

const (
	// givenFor is how much has to be written before space is given back again.
	givenFor = 64 << 20
	// quietFor is how long little is written before that.
	quietFor  = 5 * time.Second
	quietRate = 1 << 20 // bytes a second
)

// giveBack returns the space of settled messages as the sidecar does that has
// nothing else to do (sidecar/giving.go), until ctx is done.
func (s *spooled) giveBack(ctx context.Context, log *slog.Logger) {
	tick := time.NewTicker(time.Second)
	defer tick.Stop()
	var g giver
	for {
		select {
		case <-tick.C:
		case <-ctx.Done():
			return
		}
		if !g.due(time.Now(), s.db.Stats().Bytes, s.Ledger().Total.Bytes) {
			continue
		}
		if err := s.db.GiveBack(ctx); err != nil && ctx.Err() == nil {
			log.Warn("space of settled messages could not be given back", "error", err)
		}
		g.given(s.db.Stats().Bytes)
	}
}

// giver knows when it is worth it. It is asked once a second.
type giver struct {
	last uint64    // bytes written, when last asked
	from uint64    // the same, when space was given back
	busy time.Time // when much was written last
}

func (g *giver) due(now time.Time, wrote, held uint64) bool {
	if wrote-g.last > quietRate {
		g.busy = now
	}
	g.last = wrote
	return wrote-g.from >= givenFor && held < givenFor && now.Sub(g.busy) >= quietFor
}

func (g *giver) given(wrote uint64) { g.last, g.from = wrote, wrote }
