package deadletter

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/remora-mq/remora/internal/backoff"
	"github.com/remora-mq/remora/message"
	"github.com/remora-mq/remora/spool"
)

const (
	// canary is how many messages are redriven before any outcome is known.
	canary = 5
	// MaxOpen is how many may be without an outcome after that: a redrive waits while
	// there are as many.
	MaxOpen = 500
	// tolerated is the part of the outcomes that may be deaths: one in so many.
	tolerated = 10
	// lookEvery is how often outcomes are looked for while they are waited for.
	lookEvery = 200 * time.Millisecond
	// looks is how many messages one look asks for, the oldest first.
	looks = 100
)

// most is how many messages the next step may have.
func (r *Run) most() int {
	switch {
	case !r.watches():
		return pageSize
	case r.progress.Phase == Canary:
		return canary - r.progress.Changed
	}
	return MaxOpen - len(r.open)
}

// watch looks for outcomes. It waits for those of the canary, and while too many
// are open.
func (r *Run) watch(ctx context.Context) error {
	if !r.watches() {
		return nil
	}
	if p := r.Progress(); p.Phase == Canary {
		if p.Changed < canary {
			return r.look(ctx)
		}
		if err := r.settle(ctx, 0); err != nil {
			return err
		}
		r.note(func(p *Progress) { p.Phase = Redriving })
		return nil
	}
	return r.settle(ctx, MaxOpen-1)
}

// settle waits until at most so many are open.
func (r *Run) settle(ctx context.Context, most int) error {
	for {
		if err := r.look(ctx); err != nil {
			return err
		}
		if len(r.open) <= most {
			return nil
		}
		if err := backoff.Sleep(ctx, lookEvery); err != nil {
			return err
		}
	}
}

// look asks what became of some that are open, and stops the run when too many
// died again.
func (r *Run) look(ctx context.Context) error {
	n := min(looks, len(r.open))
	var still []letter
	for _, one := range r.open[:n] {
		known, err := r.outcome(ctx, one.id)
		if err != nil {
			return err
		}
		if !known {
			still = append(still, one)
		}
	}
	r.open = append(r.open[n:], still...)
	paused := r.paused()
	r.note(func(p *Progress) { p.Open, p.Paused = len(r.open), paused })
	p := r.Progress()
	if dead := p.dead(); dead*tolerated > dead+p.Confirmed {
		return fmt.Errorf("%w: %d of the %d whose outcome is known, by cause: %s", ErrReturned, dead, dead+p.Confirmed, p.deadByCause())
	}
	return nil
}

// paused returns the topics of what is open that an operator has paused, sorted.
func (r *Run) paused() (topics []string) {
	seen := map[string]bool{}
	for _, one := range r.open {
		if seen[one.topic] {
			continue
		}
		if seen[one.topic] = true; !r.s.PausedSince(one.topic).IsZero() {
			topics = append(topics, one.topic)
		}
	}
	slices.Sort(topics)
	return topics
}

// outcome counts what became of a message, if that is known.
func (r *Run) outcome(ctx context.Context, id message.ID) (known bool, err error) {
	got, err := r.s.Receipt(ctx, id)
	switch {
	case errors.Is(err, spool.ErrNotFound):
		r.note(func(p *Progress) { p.Other++ })
		return true, nil
	case err != nil:
		return false, fmt.Errorf("look for the outcome of message %s: %w", id, err)
	case got.State == message.StateConfirmed:
		r.note(func(p *Progress) { p.Confirmed++ })
	case got.State == message.StateDead:
		cause := r.causeOf(ctx, id)
		r.note(func(p *Progress) { p.Dead[cause]++ })
	case got.State.Settled():
		r.note(func(p *Progress) { p.Other++ })
	default:
		return false, nil
	}
	return true, nil
}

func (r *Run) causeOf(ctx context.Context, id message.ID) string {
	if i, err := r.s.Find(ctx, id); err == nil && i.Reason != "" {
		return i.Reason
	}
	return "unknown"
}
