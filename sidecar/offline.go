package sidecar

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"math"
	"net/http"
	"os"
	"path/filepath"
	"time"

	"github.com/remora-mq/remora/admin"
	"github.com/remora-mq/remora/config"
	"github.com/remora-mq/remora/internal/kv"
	"github.com/remora-mq/remora/spool"
)

// ErrNoSpool reports a directory in which no sidecar has ever run.
var ErrNoSpool = errors.New("there is no spool")

// Offline is the spool of a sidecar that does not run, open for an operator. It
// listens to nothing and forwards nothing; the admin API is served within the
// process, by Handler, so that a tool works the same way on both.
type Offline struct {
	side  *Sidecar
	admin *admin.Server
}

// OpenOffline opens the spool in cfg.Spool.Dir. Nothing is made where there is
// none (ErrNoSpool); kv.ErrLocked: a sidecar has it. Like every opening it
// recovers what a crash left, and begins a new epoch. No receipt and no
// idempotency key is dropped for its age or number meanwhile.
func OpenOffline(ctx context.Context, cfg config.Config, version string, log *slog.Logger) (*Offline, error) {
	if err := exists(cfg.Spool.Dir); err != nil {
		return nil, err
	}
	if cfg.Broker.Type == "" {
		// Not contacted; the embedded one would refuse a key file.
		cfg.Broker = config.Broker{Type: config.BrokerRocketMQ, RocketMQ: config.RocketMQ{NameServers: []string{"127.0.0.1:9876"}}}
	}
	cfg.Spool.LockWait = 0
	side, err := New(cfg, version, log)
	if err != nil {
		return nil, err
	}
	side.offline = true
	side.parts.init()
	if err := side.openSpool(ctx); err != nil {
		return nil, errors.Join(err, side.closeTool()) //nolint:contextcheck // bounds itself
	}
	return &Offline{side: side, admin: admin.New(admin.Options{Log: log}, side.sources())}, nil
}

// exists looks for the database without making anything.
func exists(dir string) error {
	_, err := os.Stat(DatabaseDir(dir))
	if errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("%w in %s: name the directory of spool.dir, which has a folder \"spool\" in it", ErrNoSpool, dir)
	}
	return err
}

// DatabaseDir is where the database of a spool.dir lies.
func DatabaseDir(spoolDir string) string { return databaseIn(filepath.Join(spoolDir, "spool")) }

func databaseIn(dir string) string { return filepath.Join(dir, "db") }

// Handler serves the admin API.
func (o *Offline) Handler() http.Handler { return o.admin.Handler() }

// Close stops what runs, and returns when everything is on disk and the directory
// is free.
func (o *Offline) Close() error {
	ctx, cancel := context.WithTimeout(context.Background(), closing)
	defer cancel()
	return errors.Join(o.admin.EndOperations(ctx), o.side.closeTool())
}

// closeTool closes what a tool has open, and brings back the ballast, if it was given
// up to open the spool; else a tool leaves that as it is.
func (s *Sidecar) closeTool() error {
	err := errors.Join(s.closeBroker(), s.closeSpool(), s.closeDatabase())
	s.parts.room.returnBallast()
	return err
}

// keepAll is what retention keeps while a tool looks: everything.
func keepAll(o spool.Options) spool.Options {
	const ever = 100 * 365 * 24 * time.Hour
	o.ReceiptsKeep, o.ReceiptsMax, o.ReceiptsLimit = ever, math.MaxInt32, math.MaxInt64/2
	o.DedupeWindow, o.DedupeLimit = ever, math.MaxInt64/2
	o.LedgerKeep, o.RetainFor, o.RetainBytes = ever, ever, math.MaxInt64/2
	return o
}

// Verify reads every file of the database in spoolDir, which no sidecar may have
// (kv.ErrLocked), and returns what is damaged. It changes nothing but the PID in the file of the lock.
func Verify(ctx context.Context, spoolDir string) ([]kv.Finding, error) {
	if err := exists(spoolDir); err != nil {
		return nil, err
	}
	return kv.Verify(ctx, kv.Options{Dir: DatabaseDir(spoolDir), Magic: spool.FormatVersion})
}

// Damage is what the opening, or one before it, found broken and saved; nil:
// nothing that was not acknowledged.
func (o *Offline) Damage() *kv.Damage { return o.side.parts.db.Damage() }
