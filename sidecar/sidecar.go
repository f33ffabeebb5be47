package sidecar

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/remora-mq/remora/ackgate"
	"github.com/remora-mq/remora/admin"
	"github.com/remora-mq/remora/config"
	"github.com/remora-mq/remora/forwarder"
	"github.com/remora-mq/remora/internal/kv"
	"github.com/remora-mq/remora/internal/telemetry"
	"github.com/remora-mq/remora/seen"
	"github.com/remora-mq/remora/spool"
	"github.com/remora-mq/remora/transaction"
)

// Sidecar is one running configuration.
type Sidecar struct {
	cfg      config.Config
	version  string
	log      *slog.Logger
	registry *prometheus.Registry
	metrics  *metrics
	secrets  secrets
	leases   *ackgate.Leases // of all gates
	subs     subscriptions
	parts    parts

	conditions *admin.Conditions
	drain      drainMeter
	flow       flow
	spool      atomic.Pointer[spool.Spool]         // for listeners that are up before it is
	seen       atomic.Pointer[seen.Store]          // the same
	forwarding atomic.Pointer[forwarder.Forwarder] // likewise
	groups     atomic.Pointer[groups]              // likewise
	keeper     atomic.Pointer[transaction.Keeper]  // of half messages at brokers; nil: not yet
	retention  atomic.Pointer[retention]           // nil: there is nothing to decide, or not yet

	mu        sync.Mutex
	addresses Addresses
	ready     chan struct{}

	offline bool // a tool has the spool open: see OpenOffline
	adopts  bool // that tool forwards: see Adopt

	auditing chan struct{} // held by the one count of all records that runs
}

// Addresses are where the listeners are, which tells the port where port 0 was
// asked for. Unix sockets are "unix:///path".
type Addresses struct {
	Data   []string
	Admin  string
	Health string
}

// New validates the configuration and reads the files of secrets that it names.
// It opens nothing else.
func New(cfg config.Config, version string, log *slog.Logger) (*Sidecar, error) {
	if err := cfg.Validate(); err != nil {
		return nil, err
	}
	known, err := readSecrets(cfg)
	if err != nil {
		return nil, err
	}
	known.broker.log = log.With("component", "broker")
	registry, conditions := telemetry.NewRegistry(), admin.NewConditions()
	registry.MustRegister(conditionCollector{conditions})
	return &Sidecar{
		cfg: cfg, version: version, log: log, secrets: known, conditions: conditions,
		registry: registry, metrics: newMetrics(registry),
		leases: ackgate.NewLeases(), ready: make(chan struct{}), auditing: make(chan struct{}, 1),
	}, nil
}

// Run opens everything, serves until ctx is done or a part fails, and ends in
// order. nil means ended by request. It is called once.
func (s *Sidecar) Run(ctx context.Context) error {
	s.parts.init()
	left, err := s.openUntil(ctx)
	if left {
		return nil
	}
	switch {
	case err == nil:
		s.becomeReady()
		err = s.wait(ctx)
	case ctx.Err() != nil && !s.isStorage(err):
		err = nil // asked to end before it was up
	}
	if s.isStorage(err) {
		s.fail(ctx)
		return s.storageError()
	}
	return errors.Join(err, s.shutDown(context.WithoutCancel(ctx)))
}

// wait returns nil when ctx is done, else what has failed.
func (s *Sidecar) wait(ctx context.Context) error {
	select {
	case <-ctx.Done():
		return nil
	case <-s.parts.storage.failed:
		return ErrStorage
	case err := <-s.parts.broken:
		return err
	}
}

// shutDown performs the steps, unless the storage fails under them, or does not
// answer when there is nothing left but to close it.
func (s *Sidecar) shutDown(ctx context.Context) error {
	s.conditions.Set(admin.Stopping, true)
	done := make(chan error, 1)
	log := s.log
	if !s.wasReady() {
		log = slog.New(slog.DiscardHandler) // the reason for ending is what has to be read
	}
	go func() { done <- s.steps().Run(ctx, log) }()
	tick := time.NewTicker(100 * time.Millisecond)
	defer tick.Stop()
	for {
		select {
		case err := <-done:
			return err
		case <-s.parts.storage.failed:
			s.fail(ctx)
			return s.storageError()
		case <-tick.C:
			if s.parts.db != nil && s.parts.answered.Load() && s.conditions.Is(admin.SyncStalled) {
				return s.stalledError()
			}
		}
	}
}

// isStorage reports whether err, of a part that ended or could not be opened,
// came of storage that failed.
func (s *Sidecar) isStorage(err error) bool {
	return err != nil && (s.storageFailed() || errors.Is(err, kv.ErrFenced) || errors.Is(err, spool.ErrReadOnly))
}

func (s *Sidecar) storageError() error {
	err := fmt.Errorf("%w: restart the sidecar; look at the disk that holds %s", ErrStorage, s.cfg.Spool.Dir)
	if s.parts.db == nil || s.parts.db.Err() == nil {
		return err // while it was opened, or the embedded broker's, which has said so
	}
	return fmt.Errorf("%w: %w", err, s.parts.db.Err())
}

func (s *Sidecar) becomeReady() {
	s.conditions.Set(admin.Starting, false)
	a := s.Addresses()
	s.log.Info("ready", "data", a.Data, "admin", a.Admin, "health", a.Health, "broker", s.cfg.Broker.Type,
		"spool", s.cfg.Spool.Dir, "version", s.version)
	close(s.ready)
}

// Ready is closed when everything is up and messages are accepted.
func (s *Sidecar) Ready() <-chan struct{} { return s.ready }

func (s *Sidecar) wasReady() bool {
	select {
	case <-s.ready:
		return true
	default:
		return false
	}
}

// Addresses returns where the listeners are; complete when Ready is closed.
func (s *Sidecar) Addresses() Addresses {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.addresses
}
