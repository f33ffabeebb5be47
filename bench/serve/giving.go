package serve

import (
	"context"
	"log/slog"
	"time"

	"github.com/remora-mq/remora/internal/giving"
	"github.com/remora-mq/remora/internal/kv"
	"github.com/remora-mq/remora/internal/volume"
)

// giveBack returns the space of settled messages as the sidecar does that has
// room (sidecar/giving.go), until ctx is done.
func (s *spooled) giveBack(ctx context.Context, dir string, log *slog.Logger) {
	g := giving.New(func(ctx context.Context, _ giving.State) {
		if err := s.db.GiveBack(ctx); err != nil && ctx.Err() == nil {
			log.Warn("space of settled messages could not be given back", "error", err)
		}
	})
	defer g.Wait()
	tick := time.NewTicker(time.Second)
	defer tick.Stop()
	for {
		select {
		case <-tick.C:
		case <-ctx.Done():
			return
		}
		used, err := volume.Allocated(dir)
		if err != nil {
			log.Warn("the folder of the spool cannot be measured", "error", err)
			continue
		}
		g.Consider(ctx, time.Now(), giving.State{
			Wrote: int64(s.db.Stats().Bytes), Used: used, Held: int64(s.Total().Bytes), Retained: s.Retained().Bytes, Fixed: kv.LogRoom(0),
		})
	}
}
