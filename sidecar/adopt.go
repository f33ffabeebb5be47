package sidecar

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/remora-mq/remora/config"
	"github.com/remora-mq/remora/spool"
)

// Adoption says which spool is adopted.
type Adoption struct {
	Dir     string               // spool.dir of the sidecar that is gone
	Within  time.Duration        // stop forwarding after so long; 0: never
	Delayed bool                 // wait for delayed messages too, until all are due and forwarded
	Tell    func(waiting uint64) // called about once a second with how many wait
}

// Adopted is what came of an adoption: the ledger before and after, and whether
// a count of the records agrees with it.
type Adopted struct {
	Before   spool.Counts `json:"before"`
	After    spool.Counts `json:"after"`
	Paused   uint64       `json:"paused"` // of those left: of topics that are paused, and not on hold
	Balanced bool         `json:"balanced"`
	Audit    Audit        `json:"audit"`
}

// Left is how many messages are still held: dead letters, those on hold, those of
// topics that are paused, those that are not due yet, undecided ones, and those for which there was no time.
func (a Adopted) Left() uint64 { return a.After.InSpool.Held() }

// Adopt takes over a spool whose sidecar is gone: it forwards what is held there to the
// broker of cfg under the same message IDs, and returns when nothing more is to be
// forwarded, or the time is over, or ctx is done: none of that is an error. A delayed
// message that is not due by then, or that an operator holds, is left with its due
// time, as all else that is left. The application of an open transaction is gone:
// another one is asked for its decision, and waited for, where
// transactions.adopted_check_url says so; else it is undecided from then on.
// kv.ErrLocked: its sidecar is not gone; ErrNoSpool: there is none.
//
// Nothing is accepted meanwhile; whatever is accepted there later gets another
// spool ID.
func Adopt(ctx context.Context, cfg config.Config, version string, log *slog.Logger, a Adoption) (out Adopted, err error) {
	if err := exists(a.Dir); err != nil {
		return out, err
	}
	own := cfg.Spool.Dir
	cfg.Spool.Dir, cfg.Spool.LockWait, cfg.Subscriptions = a.Dir, 0, nil
	side, err := New(cfg, version, log)
	if err != nil {
		return out, err
	}
	side.offline, side.adopts = true, true
	side.parts.init()
	defer func() { //nolint:contextcheck // closing bounds itself
		if !side.storageFailed() { // else nothing is closed: what was never acknowledged would be written
			err = errors.Join(err, side.closeTool())
		}
	}()
	if err := side.openSpool(ctx); err != nil {
		return out, err
	}
	side.cfg.Spool.Dir = own // where an embedded broker is
	if _, err := side.parts.spool.AdoptTransactions(ctx, cfg.Transactions.AdoptedCheckURL); err != nil {
		return out, err
	}
	out.Before = side.parts.spool.Total()
	if a.Within > 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, a.Within)
		defer cancel()
	}
	if err := side.forwardAdopted(ctx, a); err != nil {
		return out, err
	}
	return out, side.closeBooks(context.WithoutCancel(ctx), &out)
}

// forwardAdopted forwards until nothing waits, or ctx is done.
func (s *Sidecar) forwardAdopted(ctx context.Context, a Adoption) (err error) {
	if err := s.openBroker(ctx); err != nil {
		return err
	}
	if err := s.startForwarder(ctx); err != nil {
		return err
	}
	if err := s.startChecks(ctx); err != nil {
		return err
	}
	drained := make(chan error, 1)
	waiting, stop := context.WithCancel(ctx)
	defer stop()
	go func() { drained <- s.drainAdopted(waiting, a.Delayed) }()
	tick := time.NewTicker(time.Second)
	defer tick.Stop()
	for {
		select {
		case err = <-drained:
			if ctx.Err() != nil {
				err = nil // what was not forwarded is counted
			}
			ending, cancel := context.WithTimeout(context.WithoutCancel(ctx), closing)
			defer cancel()
			return errors.Join(err, s.stopChecks(ending), s.stopForwarding(ending), s.stopHalves(ending))
		case err := <-s.parts.broken:
			stop()
			return errors.Join(err, <-drained)
		case <-s.parts.storage.failed:
			stop()
			<-drained //nolint:errcheck // of the same
			return s.storageError()
		case <-tick.C:
			led, kept, _ := s.parts.spool.Left()
			c := led.Total
			waits := c.InSpool.Held() - c.InSpool.Dead - c.InSpool.Delayed - c.InSpool.Half
			for _, k := range kept {
				waits -= k.Messages
			}
			if a.Delayed {
				waits += c.InSpool.Delayed - c.DelayedOnHold
			}
			a.Tell(waits)
		}
	}
}

// drainAdopted returns when nothing waits to be forwarded and no transaction waits
// for an answer; with delayed, nothing will either, but what an operator holds.
func (s *Sidecar) drainAdopted(ctx context.Context, delayed bool) error {
	tick := time.NewTicker(time.Second)
	defer tick.Stop()
	for {
		n := s.parts.spool.TransactionCounts() // first: what is decided meanwhile may be delayed then
		c := s.parts.spool.Total()             // before Drained: what falls due meanwhile is drained then
		open := n.Half + n.Ending
		if err := s.parts.spool.Drained(ctx); err != nil || open == 0 && (!delayed || c.InSpool.Delayed == c.DelayedOnHold) {
			return err
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// closeBooks records the last confirmations and counts every record.
func (s *Sidecar) closeBooks(ctx context.Context, out *Adopted) error {
	sp := s.parts.spool
	if err := sp.NewIdentity(ctx); err != nil {
		return fmt.Errorf("take a new spool ID: %w", err)
	}
	found, err := sp.Audit(ctx)
	if err != nil {
		return err
	}
	led := sp.Ledger()
	out.After, out.Balanced = led.Total, found.Balanced
	for topic := range sp.Paused() {
		c := led.Topics[topic]
		out.Paused += c.InSpool.Pending + c.InSpool.InFlight + c.InSpool.Retrying - c.OnHold
	}
	out.Audit = Audit{Held: found.Held, Settled: found.Settled, Missing: orEmpty(found.Missing), Damage: orEmpty(found.Damage)}
	return nil
}
