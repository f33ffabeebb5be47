package deadletter

import (
	"context"
	"fmt"
	"log/slog"
	"slices"
	"time"

	"github.com/remora-mq/remora/broker"
	"github.com/remora-mq/remora/deadletter/notes"
)

// Group is the dead letters of a consumer group: they are the broker's, and what an
// operator has done with them is in the notes. Methods may be called from many
// goroutines.
type Group struct {
	name  string
	dead  broker.DeadLetters
	notes *notes.Store
	log   *slog.Logger
	ages  ages
}

// NewGroup contacts nobody. The caller closes what it gives.
func NewGroup(name string, dead broker.DeadLetters, known *notes.Store, log *slog.Logger) *Group {
	if log == nil {
		log = slog.New(slog.DiscardHandler)
	}
	return &Group{name: name, dead: dead, notes: known, log: log.With("group", name)}
}

// Name is the group's.
func (g *Group) Name() string { return g.name }

// UnknownCause is that of dead letters which another sidecar, or another client,
// gave up.
const UnknownCause = "unknown"

// Letter is a dead letter that waits for an operator. Its Attempt is how often it
// was tried: as the gate counted, else as the broker did.
type Letter struct {
	broker.DeadLetter

	Cause string
}

func (g *Group) letter(d broker.DeadLetter) Letter {
	l := Letter{d, UnknownCause}
	if why, ok := g.notes.Reason(g.name, d.Identity); ok {
		l.Cause, l.Attempt = why.Cause, max(why.Attempts, 1)
	}
	return l
}

// GroupFilter chooses dead letters of a group: those of IDs, when there are any;
// else those that fit all that is set.
type GroupFilter struct {
	Topic, Key, Tag, Cause string
	Before                 time.Time // of its death
	IDs                    []string  // identities
}

func (f *GroupFilter) fits(l *Letter) bool {
	switch {
	case len(f.IDs) > 0:
		return slices.Contains(f.IDs, l.Identity)
	case f.Topic != "" && f.Topic != l.Topic, f.Tag != "" && f.Tag != l.Tag, f.Cause != "" && f.Cause != l.Cause:
		return false
	case f.Key != "" && !slices.Contains(l.Keys, f.Key):
		return false
	}
	return f.Before.IsZero() || l.DiedAt.Before(f.Before)
}

// place is where something waits, in one queue.
type place struct {
	queue   string
	waiting notes.Waiting
}

// look asks the broker for the queues, and tells it again how far they are settled
// where it does not know.
func (g *Group) look(ctx context.Context) (all []place, err error) {
	queues, err := g.dead.Queues(ctx)
	if err != nil {
		return nil, fmt.Errorf("look for dead letters of group %s: %w", g.name, err)
	}
	for _, q := range queues {
		w, err := g.notes.Look(ctx, g.name, q)
		if err != nil {
			return nil, err
		}
		if low := g.notes.Low(g.name, q.Name); low > q.Passed && low > q.First {
			g.pass(ctx, q.Name, low)
		}
		all = append(all, place{q.Name, w})
	}
	return all, nil
}

// pass tells others how far a queue is settled. Failing only means that they see
// more than waits, until it is told again.
func (g *Group) pass(ctx context.Context, queue string, low int64) {
	if err := g.dead.Pass(ctx, queue, low); err != nil && ctx.Err() == nil {
		g.log.Warn("the broker was not told how far dead letters are settled; other sidecars list more than waits", "queue", queue, "offset", low, "error", err)
	}
}

// readSize is how many dead letters are read at once.
const readSize = 32

// each visits those that wait now and fit, the oldest of a queue first, until visit
// returns false or an error. It begins at a cursor; the zero one is the beginning.
func (g *Group) each(ctx context.Context, f *GroupFilter, from cursor, visit func(*Letter) (bool, error)) error {
	places, err := g.look(ctx)
	if err != nil {
		return err
	}
	for _, p := range places {
		if p.queue < from.queue {
			continue
		}
		start := p.waiting.From()
		if p.queue == from.queue {
			start = p.waiting.After(from.offset)
		}
		if more, err := g.eachOf(ctx, f, p, start, visit); err != nil || !more {
			return err
		}
	}
	return nil
}

func (g *Group) eachOf(ctx context.Context, f *GroupFilter, p place, from int64, visit func(*Letter) (bool, error)) (more bool, err error) {
	for from < p.waiting.Next() {
		some, next, err := g.dead.Read(ctx, p.queue, from, readSize)
		if err != nil || len(some) == 0 {
			return true, err
		}
		for i := range some {
			if !p.waiting.Has(some[i].Offset) {
				continue
			}
			l := g.letter(some[i])
			if !f.fits(&l) {
				continue
			}
			if more, err := visit(&l); err != nil || !more {
				return false, err
			}
		}
		from = p.waiting.After(next)
	}
	return true, nil
}
