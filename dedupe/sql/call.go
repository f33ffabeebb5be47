package sql

import (
	"context"
	"database/sql/driver"
	"errors"
	"fmt"
	"time"

	"github.com/remora-mq/remora/internal/backoff"
)

// tries of one operation: over a connection that was lost, after a deadlock, or
// when its row was deleted between two statements.
const tries = 4

var again = backoff.Policy{Initial: 10 * time.Millisecond, Max: 200 * time.Millisecond}

// call asks the server, unless the store is closed: again where that may help,
// which every operation bears. The error is ErrClosed, the context's, or
// ErrUnavailable.
func (s *Store) call(ctx context.Context, ask func(context.Context) error) error {
	return s.calls.Ask(ctx, s.o.Timeout, func(ctx context.Context) error { return explain(s.insist(ctx, ask)) })
}

// explain says what it may be that the driver says nothing of.
func explain(err error) error {
	if errors.Is(err, driver.ErrBadConn) {
		return fmt.Errorf("the server ends connections, or is read-only: %w", err)
	}
	return err
}

func (s *Store) insist(ctx context.Context, ask func(context.Context) error) (err error) {
	for try := 1; ; try++ {
		if err = ask(ctx); err == nil {
			return nil
		}
		if s.d.missing(err) {
			if _, failed := s.db.ExecContext(ctx, s.d.schema); failed != nil {
				err = fmt.Errorf("make the table remora_dedupe: %w", failed)
			}
		}
		if try == tries {
			return err
		}
		t := time.NewTimer(again.Delay(try, backoff.Random{}))
		select {
		case <-ctx.Done():
			t.Stop()
			return err
		case <-t.C:
		}
	}
}
