package sidecar

import (
	"context"
	"net"
	"strings"

	"github.com/remora-mq/remora/admin"
	"github.com/remora-mq/remora/httpapi"
)

// openDoor lets messages in. The listeners may be there already.
func (s *Sidecar) openDoor(ctx context.Context) error {
	if err := s.openData(ctx); err != nil {
		return err
	}
	s.parts.door.keeper.Store(s.keeper.Load())
	s.parts.door.spool.Store(s.parts.spool)
	return nil
}

// openData starts the data listeners, all of them or none, unless they are there.
func (s *Sidecar) openData(ctx context.Context) error {
	p := &s.parts
	if p.data != nil {
		return nil
	}
	p.door = &door{keep: s.cfg.Spool.Receipts.Keep.Std(), most: p.room.cap.receipts(s.cfg.Spool.Receipts)}
	p.data = httpapi.New(s.dataOptions(), p.door)
	if err := p.data.Register(s.registry); err != nil {
		return err
	}
	listeners, err := s.bindData()
	if err != nil {
		return err
	}
	for _, ln := range listeners {
		s.setAddress(func(a *Addresses) { a.Data = append(a.Data, addressOf(ln)) })
		p.serving = append(p.serving, p.start(ctx, "data listener "+addressOf(ln), func(context.Context) error { return p.data.Serve(ln) }))
	}
	return nil
}

func (s *Sidecar) bindData() (bound []net.Listener, err error) {
	for _, addr := range s.cfg.Listen.Data {
		ln, err := httpapi.Listen(addr, s.cfg.Listen.SocketGroup)
		if err != nil {
			for _, b := range bound {
				_ = b.Close() // nothing was accepted
			}
			return nil, taken(err, "listen.data")
		}
		bound = append(bound, ln)
	}
	return bound, nil
}

func (s *Sidecar) dataOptions() httpapi.Options {
	c, room := s.cfg, s.parts.room.cap
	share, _ := c.Spool.Share() // validated
	return httpapi.Options{
		MaxMessage: room.unit(c.Spool.MaxMessage, share), MaxBatchMessages: room.batch(c.Spool.MaxBatch), MaxBatchBytes: room.unit(c.Spool.MaxBatch.Bytes, share),
		IngestBudget: int64(c.Memory.Ingest), AppendTimeout: c.Spool.SyncTimeout.Std(), Tokens: s.secrets.dataTokens,
		AllowedTopics: c.Topics.Allow, TopicRates: c.Topics.PerSecond(),
		AllowedHosts: c.Listen.Hosts, AllowedOrigins: c.Listen.Origins, PeerUIDs: c.Listen.PeerUIDs,
		Version: s.version, BrokerType: c.Broker.Type, Survives: s.parts.volume.Survives,
		Transactions: s.parts.door, CheckURLs: c.Transactions.CheckURLs,
		Deliveries: s.leases, RetryAfter: s.drain.untilRoom, Status: s.dataStatus, Log: s.log.With("component", "httpapi"),
	}
}

func (s *Sidecar) dataStatus(context.Context) httpapi.Status {
	now := httpapi.Status{
		Starting: s.parts.door.spool.Load() == nil, ReadOnly: s.storageFailed(), Stalled: s.conditions.Is(admin.SyncStalled), Degraded: s.conditions.Degraded(),
		IdempotencyWindow: s.cfg.Spool.Idempotency.Window.Std(),
	}
	if sp := s.spool.Load(); sp != nil {
		now.IdempotencyWindow = sp.DedupeWindow()
	}
	return now
}

func (s *Sidecar) storageFailed() bool {
	select {
	case <-s.parts.storage.failed:
		return true
	default:
		return false
	}
}

func (s *Sidecar) setAddress(set func(*Addresses)) {
	s.mu.Lock()
	defer s.mu.Unlock()
	set(&s.addresses)
}

// addressOf writes an address as the configuration does.
func addressOf(ln net.Listener) string {
	if ln.Addr().Network() == "unix" {
		return "unix://" + strings.TrimSuffix(ln.Addr().String(), "~") // bound beside its place, then renamed
	}
	return ln.Addr().String()
}
