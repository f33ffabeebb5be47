package sidecar

import (
	"context"
	"errors"
	"fmt"
	"net"
	"syscall"
	"time"

	"github.com/remora-mq/remora/admin"
	"github.com/remora-mq/remora/internal/problem"
	"github.com/remora-mq/remora/spool"
)

// openWatchers starts the health and admin listeners, before there is anything
// to tell but "starting".
func (s *Sidecar) openWatchers(ctx context.Context) error {
	health := admin.NewHealth(s.conditions, s.registry, s.log)
	addr, err := s.watch(ctx, "health listener", s.cfg.Listen.Health, health)
	if err != nil {
		return taken(err, "listen.health")
	}
	s.setAddress(func(a *Addresses) { a.Health = addr })
	operators := admin.New(admin.Options{
		Tokens: s.secrets.adminTokens, AllowedHosts: s.cfg.Listen.Hosts, AllowedOrigins: s.cfg.Listen.Origins,
		Log: s.log.With("component", "admin"),
	}, s.sources())
	s.parts.operators = operators
	if addr, err = s.watch(ctx, "admin listener", s.cfg.Listen.Admin, operators); err != nil {
		return taken(err, "listen.admin")
	}
	s.setAddress(func(a *Addresses) { a.Admin = addr })
	return nil
}

func (s *Sidecar) watch(ctx context.Context, name, addr string, server *admin.Server) (string, error) {
	ln, err := net.Listen("tcp", addr)
	if err != nil {
		return "", fmt.Errorf("%s: %w", name, err)
	}
	p := &s.parts
	p.watchers = append(p.watchers, server)
	p.watching = append(p.watching, p.start(ctx, name, func(context.Context) error { return server.Serve(ln) }))
	return ln.Addr().String(), nil
}

// taken says what to do where somebody else listens at the address of a key.
func taken(err error, key string) error {
	if errors.Is(err, syscall.EADDRINUSE) {
		return fmt.Errorf("%w: stop what listens there, or change %s", err, key)
	}
	return err
}

// Ledger is the answer of GET /v1/ledger: the counters of now, and whether a
// count of the records on disk agrees with them.
type Ledger struct {
	Balanced bool                    `json:"balanced"`
	Total    spool.Counts            `json:"total"`
	Topics   map[string]spool.Counts `json:"topics"`
	Audit    Audit                   `json:"audit"`
	Damage   spool.DamageState       `json:"damage"`
	Broker   string                  `json:"broker_type"`
	Survives string                  `json:"survives"`
}

// Audit is what was found on disk: in one view, a moment before the counters.
type Audit struct {
	Held    uint64   `json:"held"`    // records
	Settled uint64   `json:"settled"` // sequences
	Missing []uint64 `json:"missing"` // sequences that are neither
	Damage  []string `json:"damage"`
}

func (s *Sidecar) ledger(ctx context.Context) (any, error) {
	sp := s.spool.Load()
	if sp == nil {
		return nil, problem.New(problem.Starting, "the spool is not open yet")
	}
	select {
	case s.auditing <- struct{}{}: // each count reads the whole spool: one at a time
		defer func() { <-s.auditing }()
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	found, err := sp.Audit(ctx)
	if err != nil {
		return nil, err
	}
	s.metrics.setBalanced(found.Balanced)
	now := sp.Ledger()
	return Ledger{
		Balanced: found.Balanced, Total: now.Total, Topics: now.Topics,
		Damage: sp.Damage(),
		Audit:  Audit{found.Held, found.Settled, orEmpty(found.Missing), orEmpty(found.Damage)},
		Broker: s.cfg.Broker.Type, Survives: s.parts.volume.Survives,
	}, nil
}

// orEmpty makes JSON say [] instead of null.
func orEmpty[T any](list []T) []T {
	if list == nil {
		return []T{}
	}
	return list
}

// keepConditions looks once a second for what is wrong while accepts go on.
func (s *Sidecar) keepConditions(ctx context.Context) error {
	tick := time.NewTicker(time.Second)
	defer tick.Stop()
	for {
		led := s.parts.spool.Ledger()
		s.drain.observe(time.Now(), led, s.levels(led.Total.Bytes))
		s.flow.observe(time.Now(), led.Total)
		s.conditions.Set(admin.Damaged, s.parts.spool.Damage().Pending())
		s.conditions.Set(admin.Broker, s.parts.forward.Failing() > 0 || len(s.parts.forward.FailingBrokers()) > 0 || s.halvesUnreached())
		s.conditions.Set(admin.TopicParked, len(s.parts.forward.Parked()) > 0)
		s.notePauses(s.parts.spool)
		s.conditions.Set(admin.OrderingBlocked, s.parts.spool.BlockedKeys() > 0)
		s.conditions.Set(admin.SpoolFull, s.parts.room.full.Load() || s.parts.spool.Full())
		s.conditions.Set(admin.DiskLow, s.parts.room.isLow())
		s.conditions.Set(admin.ClockStep, clockStepOf(s.parts.spool) != nil)
		s.conditions.Set(admin.DeliveryBlocked, alarming(s.leases.Blocked()))
		s.noteHeldUp()
		s.noticeUndecided()
		s.conditions.Set(admin.DedupeStore, s.parts.shared.failing())
		select {
		case <-tick.C:
		case <-ctx.Done():
			return nil
		}
	}
}

// levels is how far the spool is from where messages are taken again.
func (s *Sidecar) levels(held uint64) levels {
	r := s.parts.room
	share, _ := s.cfg.Spool.Share() // validated
	return levels{
		share:  share * float64(r.cap.Messages),
		excess: max(float64(held)-lowWater*float64(r.cap.Messages), float64(r.taken())-lowWater*float64(r.cap.Limit), 0),
		lack:   max(float64(r.needed()-r.free.Load()), 0),
	}
}
