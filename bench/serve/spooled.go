package serve

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"time"

	"github.com/remora-mq/remora/broker"
	"github.com/remora-mq/remora/forwarder"
	"github.com/remora-mq/remora/internal/kv"
	"github.com/remora-mq/remora/spool"
	"github.com/remora-mq/remora/transaction"
)

// spooled is a spool whose messages are forwarded to the null broker, and whose open
// transactions are asked for. Receipts, dedupe keys and the ledger are on, as they ship.
type spooled struct {
	*spool.Spool
	db        *kv.DB
	stop      context.CancelFunc // of the forwarder and the check-backs
	forwarded chan error         // the end of the one
	checked   chan struct{}      // and of the other
}

// askedAt is where applications may be asked for the decision of a transaction.
var askedAt = transaction.Allowed{"http://127.0.0.1:*"}

func openSpooled(ctx context.Context, dir string) (*spooled, error) {
	return openSpool(ctx, dir, 0, nullBroker{})
}

func openSpool(ctx context.Context, dir string, limit int64, to broker.Producer) (*spooled, error) {
	log := logger()
	db, err := kv.Open(ctx, kv.Options{Dir: filepath.Join(dir, "db"), Logger: log})
	if err != nil {
		return nil, err
	}
	sp, err := spool.Open(ctx, db, spool.Options{Dir: dir, Limit: limit, Logger: log})
	if err != nil {
		return nil, errors.Join(err, db.Close()) //nolint:contextcheck // it bounds itself
	}
	s := &spooled{Spool: sp, db: db, forwarded: make(chan error, 1), checked: make(chan struct{})}
	fctx, stop := context.WithCancel(context.WithoutCancel(ctx))
	s.stop = stop
	f := forwarder.New(forwarder.Options{}, sp, to, log)
	go func() { s.forwarded <- f.Run(fctx) }()
	checker := transaction.New(sp, transaction.Options{Allowed: askedAt, UserAgent: "bench", Logger: log})
	go func() {
		defer close(s.checked)
		_ = checker.Run(fctx) // it ends with fctx, or with the spool, which tells of it too
	}()
	return s, nil
}

func logger() *slog.Logger {
	return slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: slog.LevelWarn}))
}

func (s *spooled) commits() Commits {
	stats := s.db.Stats()
	return Commits{Count: stats.Commits, Took: stats.TotalSync}
}

func (s *spooled) close(ctx context.Context) (Account, error) {
	drainErr := s.drain(ctx)
	account, err := s.end() //nolint:contextcheck // it bounds itself
	return account, errors.Join(drainErr, err)
}

// end stops forwarding and closes.
func (s *spooled) end() (Account, error) {
	s.stop()
	err := <-s.forwarded
	<-s.checked
	total := s.Ledger().Total
	err = errors.Join(err, s.Spool.Close(), s.db.Close())
	return Account{Accepted: total.Accepted, Confirmed: total.Confirmed}, err
}

// drain returns when the record of the last confirmation is synced.
func (s *spooled) drain(ctx context.Context) error {
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for {
		held := s.Ledger().Total.InSpool.Held()
		if held == 0 {
			return nil
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return fmt.Errorf("drain: %d messages are still held", held)
		}
	}
}
