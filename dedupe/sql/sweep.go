package sql

import (
	"context"
	"time"
)

// sweepBatch bounds what one statement deletes, so that no other waits for it.
const sweepBatch = 1000

// sweepLoop deletes until ctx is done. What fails is done the next time: a row
// that stays too long is absent all the same.
func (s *Store) sweepLoop(ctx context.Context) {
	tick := time.NewTicker(s.o.SweepEvery)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
			_, _ = s.sweep(ctx)
		}
	}
}

// sweep deletes the rows whose window has passed, and tells how many there were.
func (s *Store) sweep(ctx context.Context) (all int64, err error) {
	for {
		res, err := s.db.ExecContext(ctx, s.d.sweep, sweepBatch)
		if err != nil {
			return all, err
		}
		n, err := res.RowsAffected()
		all += n
		if err != nil || n < sweepBatch {
			return all, err
		}
	}
}
