package sidecar

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"github.com/remora-mq/remora/ackgate"
	"github.com/remora-mq/remora/config"
	"github.com/remora-mq/remora/forwarder"
	"github.com/remora-mq/remora/internal/backoff"
	"github.com/remora-mq/remora/internal/kv"
	"github.com/remora-mq/remora/internal/volume"
	"github.com/remora-mq/remora/spool"
)

// open brings everything up, in the order that doc.go tells. After an error
// the steps close what is open.
func (s *Sidecar) open(ctx context.Context) error {
	for _, bring := range []func(context.Context) error{
		s.openWatchers, s.openSpool, s.openBroker, s.startForwarder, s.startSubscriptions, s.startChecks, s.openDoor,
	} {
		if err := bring(ctx); err != nil {
			return err
		}
		if err := ctx.Err(); err != nil {
			return err
		}
	}
	return nil
}

func (s *Sidecar) openSpool(ctx context.Context) (err error) {
	defer func() { err = kv.StorageError(err) }()
	if err := Usable(s.cfg.Spool.Dir); err != nil {
		return err
	}
	found, err := VolumeOf(s.cfg.Spool.Dir)
	if err != nil {
		return err
	}
	dir := filepath.Join(s.cfg.Spool.Dir, "spool")
	s.log.Info("opening spool", "dir", dir, "filesystem", found.Filesystem, "survives", found.Survives, "durability_tested", found.Durable)
	p := &s.parts
	p.volume = found
	if err := s.planRoom(dir); err != nil {
		return err
	}
	if err := s.openStore(ctx, dir); err != nil {
		return err
	}
	s.watchDamage()
	s.spool.Store(p.spool)
	if s.offline { // what the ballast shall be is the sidecar's to say
		p.room.Look()
	} else {
		p.room.restore()
	}
	p.room.measure()
	s.metrics.watchSpool(s.registry, p)
	s.registry.MustRegister(drainCollector{s})
	s.sayPaused(p.spool)
	return nil
}

func (s *Sidecar) openOnce(ctx context.Context, dir string) (err error) {
	p := &s.parts
	opts := kv.Options{
		Dir: databaseIn(dir), Logger: s.log.With("component", "kv"), LockWait: s.cfg.Spool.LockWait.Std(),
		Magic: spool.FormatVersion, OnCommit: s.metrics.commit, OnStall: s.stalled, MemTableSize: p.room.cap.memTable, Limit: p.room.cap.Limit, BeforeOpen: s.awaitRoom,
		SyncTimeout: s.cfg.Spool.SyncTimeout.Std(), MaxQueued: s.maxQueued(), Owner: spool.Owner(s.secrets.keys),
	}
	if err := s.openDatabase(ctx, opts); err != nil {
		return err
	}
	p.storage.watch(p.db.Failed())
	p.timers = newTimers(s.cfg.Topics.AtBroker(), s.log.With("component", "timers"))
	if p.spool, err = spool.Open(ctx, p.db, s.spoolOptions(dir)); err != nil {
		return err
	}
	if err := s.openMarks(); err != nil { //nolint:contextcheck // they live until Close
		return err
	}
	return s.openSeen()
}

// planRoom divides the volume, or says why it is too small.
func (s *Sidecar) planRoom(dir string) error {
	space, err := volume.SpaceOf(volume.Existing(dir))
	if err != nil {
		return err
	}
	plan, err := CapacityOf(s.cfg.Spool, space)
	if err != nil {
		return fmt.Errorf("spool.dir %s: %w", s.cfg.Spool.Dir, err)
	}
	s.parts.room = newRoom(dir, plan, s.log.With("component", "room"))
	s.log.Info("dividing the volume", "volume_bytes", plan.Volume, "free_bytes", space.Free, "limit_bytes", plan.Limit,
		"messages_bytes", plan.Messages, "reserve_bytes", plan.Reserve, "ballast_bytes", plan.Ballast)
	return nil
}

// openDatabase waits for room before it opens the database, which does so with
// its directory locked; on a full volume the directory could not even be made.
func (s *Sidecar) openDatabase(ctx context.Context, opts kv.Options) error {
	if _, err := os.Stat(opts.Dir); errors.Is(err, fs.ErrNotExist) {
		if _, err := s.awaitRoom(ctx); err != nil {
			return err
		}
	}
	db, err := kv.Open(ctx, opts)
	s.parts.db = db
	return err
}

// spoolOptions are the configured ones, with which a tool drops nothing.
func (s *Sidecar) spoolOptions(dir string) spool.Options {
	opts := s.configured(dir)
	switch all := keepAll(opts); {
	case s.adopts: // what it forwards need not be kept longer than elsewhere
		all.RetainFor, all.RetainBytes = opts.RetainFor, opts.RetainBytes
		return all
	case s.offline:
		return all
	}
	return opts
}

func (s *Sidecar) configured(dir string) spool.Options {
	c := s.cfg.Spool
	share, _ := c.Share() // validated
	opts := spool.Options{
		Dir: dir, Limit: s.parts.room.cap.Messages, TopicShare: share, Space: s.parts.room, MaxTopics: s.cfg.Topics.Max,
		ReceiptsKeep: c.Receipts.Keep.Std(), ReceiptsMax: s.parts.room.cap.receipts(c.Receipts), ReceiptsLimit: s.parts.room.cap.budget(c.Receipts.Limit),
		DedupeWindow: c.Idempotency.Window.Std(), DedupeLimit: s.parts.room.cap.budget(c.Idempotency.Limit),
		LedgerKeep: s.cfg.Ledger.Keep.Std(), LeaseFor: s.leaseFor(),
		BlockOnDead: s.cfg.Forwarder.Ordering.OnDead == config.OnDeadBlock, Keys: s.secrets.keys, Logger: s.log.With("component", "spool"),
		Timer: s.parts.timers.of,
	}
	retain, _ := c.RetainFor(s.cfg.Broker.Type == config.BrokerEmbedded) // validated; what RocketMQ says of itself decides while it runs
	opts.RetainFor, opts.RetainBytes = retain.Std(), opts.Limit/retainPart
	return opts
}

// retainPart of the limit is for messages that were confirmed.
const retainPart = 4

// leaseFor outlasts the attempts that one half of a refused batch may take before the
// other half's turn comes, if each message of it is refused: then it begins anew.
func (s *Sidecar) leaseFor() time.Duration {
	f := s.cfg.Forwarder
	return max(5*time.Minute, time.Duration(f.Batch.MaxMessages+2)*f.AttemptTimeout.Std())
}

func (s *Sidecar) openBroker(ctx context.Context) (err error) {
	p := &s.parts
	if p.backend, err = s.openBackend(ctx); err != nil {
		return err
	}
	if failed := p.backend.Failed(); failed != nil {
		p.storage.watch(failed)
	}
	if p.producer, err = p.backend.Producer(); err != nil {
		return err
	}
	p.halves, err = p.backend.Halves()
	return err
}

func (s *Sidecar) startForwarder(ctx context.Context) error {
	p := &s.parts
	opts := s.forwarderOptions()
	opts.Timer = p.timers.reach
	p.forward = forwarder.New(opts, p.spool, p.producer, s.log.With("component", "forwarder"))
	p.forward.Register(s.registry)
	s.forwarding.Store(p.forward)
	p.forwarding = p.start(ctx, "forwarder", p.forward.Run)
	p.noticing = p.start(ctx, "conditions", s.keepConditions)
	p.roomKeeping = p.start(ctx, "room", func(ctx context.Context) error { return p.room.keep(ctx, p.spool, p.db) })
	return s.watchBrokers(ctx)
}

func (s *Sidecar) forwarderOptions() forwarder.Options {
	f := s.cfg.Forwarder
	after, _ := f.Ordering.After() // validated
	return forwarder.Options{
		Concurrency: f.Concurrency, MaxMessages: f.Batch.MaxMessages, MaxBytes: int(f.Batch.MaxBytes),
		AttemptTimeout: f.AttemptTimeout.Std(), Rates: f.PerSecond(), Priorities: s.cfg.Topics.Priority, FailoverAfter: after.Std(),
		BlockOnDead: f.Ordering.OnDead == config.OnDeadBlock,
		Retry:       backoff.Policy{Initial: f.Retry.Initial.Std(), Max: f.Retry.Max.Std()},
	}
}

func (s *Sidecar) startSubscriptions(ctx context.Context) error {
	s.inspectShared(ctx)
	if err := s.openGroups(); err != nil {
		return err
	}
	s.countDeadLetters(ctx)
	metrics := ackgate.NewMetrics(s.registry)
	for _, sub := range s.cfg.Subscriptions {
		if err := s.subscribe(ctx, sub.WithDefaults(s.cfg.Dedupe.Window).OfInstance(s.parts.spool.ID().String()), metrics); err != nil {
			return fmt.Errorf("subscription %s: %w", sub.Name, err)
		}
	}
	s.leases.Ready()
	s.subs.becomeReady()
	s.noteHeldUp()
	return nil
}
