package sidecar

import (
	"context"
	"errors"

	"github.com/remora-mq/remora/admin"
	"github.com/remora-mq/remora/internal/kv"
	"github.com/remora-mq/remora/spool"
)

// openStore opens the database and all that is in it. When one of these meets damage
// that the database's opening did not look for, all are opened once more: then the
// database salvages.
func (s *Sidecar) openStore(ctx context.Context, dir string) error {
	err := s.openOnce(ctx, dir)
	if !errors.Is(err, kv.ErrDamaged) || s.parts.db == nil {
		return err
	}
	s.log.Warn("opening the spool again, to salvage what is damaged", "error", err)
	err = errors.Join(s.closeSpool(), s.parts.db.Close()) //nolint:contextcheck // they bound themselves
	p := &s.parts
	p.db, p.spool, p.marks, p.notes, p.shared, p.seen = nil, nil, nil, nil, nil, nil
	if err != nil {
		return err
	}
	return s.openOnce(ctx, dir)
}

// watchDamage says what the opening found.
func (s *Sidecar) watchDamage() {
	if s.parts.spool.Damage().Pending() {
		s.conditions.Set(admin.Damaged, true)
		s.metrics.setBalanced(false)
	}
}

// Acknowledged is the answer of POST /v1/damage/acknowledge.
type Acknowledged struct {
	Reports []spool.Damage `json:"acknowledged"`
}

// acknowledge notes that an operator knows of the damage that was found.
func (s *Sidecar) acknowledge(ctx context.Context) (any, error) {
	sp := s.spool.Load()
	if sp == nil {
		return nil, spool.ErrClosed // not open yet
	}
	known, err := sp.AcknowledgeDamage(ctx)
	if err != nil {
		return nil, err
	}
	s.conditions.Set(admin.Damaged, sp.Damage().Pending())
	return Acknowledged{orEmpty(known)}, nil
}
