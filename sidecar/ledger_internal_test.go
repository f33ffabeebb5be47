package sidecar

import (
	"context"
	"errors"
	"testing"

	"github.com/remora-mq/remora/spool"
)

// A count reads the whole spool, so the next one waits for its turn.
func TestOneCountOfTheRecordsAtATime(t *testing.T) {
	s := &Sidecar{auditing: make(chan struct{}, 1)}
	s.spool.Store(&spool.Spool{})
	s.auditing <- struct{}{} // one runs
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := s.ledger(ctx); !errors.Is(err, context.Canceled) {
		t.Errorf("error %v, want it to wait until its caller has gone", err)
	}
}
