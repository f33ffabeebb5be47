package deadletter

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/remora-mq/remora/internal/backoff"
	"github.com/remora-mq/remora/message"
	"github.com/remora-mq/remora/spool"
)

// DefaultRate is how many messages a second are redriven unless it is said.
const DefaultRate = 50

// Options of a Run.
type Options struct {
	Filter Filter
	// Discard ends the dead letters; else they are redriven.
	Discard bool
	// Rate is messages a second. 0: DefaultRate for a redrive, no bound for a discard.
	Rate int
	// Forwards says that a forwarder runs, so that outcomes can be waited for. Else
	// a redrive has no canary, and ends when all are pending.
	Forwards bool
}

// Phase is what a run does now.
type Phase string

// The phases, in order. A discard has counting and discarding alone.
const (
	Counting   Phase = "counting"
	Canary     Phase = "canary"     // some were redriven, and their outcomes are waited for
	Redriving  Phase = "redriving"  // at the rate
	Waiting    Phase = "waiting"    // all were redriven; some have no outcome yet
	Discarding Phase = "discarding" // at the rate
	Ended      Phase = "ended"
)

// Progress is how far a run has come.
type Progress struct {
	Phase Phase `json:"phase"`

	Chosen    Count          `json:"chosen"`          // by the filter, when it began
	Changed   int            `json:"changed"`         // redriven, or discarded: on stable storage
	Refused   int            `json:"refused"`         // were no dead letters any more when it came to them, or are damaged
	Confirmed int            `json:"confirmed"`       // of those redriven
	Dead      map[string]int `json:"dead_by_cause"`   // dead letters again, by their cause
	Other     int            `json:"ended_otherwise"` // cancelled, or not known any more
	Open      int            `json:"without_outcome"`
	Paused    []string       `json:"paused_topics,omitempty"` // of these, sorted: nothing of them has an outcome before they are resumed
}

// dead is how many died again.
func (p *Progress) dead() (n int) {
	for _, some := range p.Dead {
		n += some
	}
	return n
}

// deadByCause is that as text, most first.
func (p *Progress) deadByCause() string {
	causes := slices.SortedFunc(maps.Keys(p.Dead), func(a, b string) int {
		return cmp.Or(cmp.Compare(p.Dead[b], p.Dead[a]), strings.Compare(a, b))
	})
	for i, cause := range causes {
		causes[i] = fmt.Sprintf("%d of %s", p.Dead[cause], cause)
	}
	return strings.Join(causes, ", ")
}

// ErrReturned says that too many of what was redriven are dead letters again.
var ErrReturned = errors.New("they are dead letters again")

// Run redrives or discards what a filter chooses.
type Run struct {
	s    Spool
	opts Options
	open []letter // redriven, and without an outcome
	pace pacer

	*told
}

// letter is a message that was redriven.
type letter struct {
	id    message.ID
	topic string
}

// New returns a run that has not begun.
func New(s Spool, opts Options) *Run {
	if opts.Rate == 0 && !opts.Discard {
		opts.Rate = DefaultRate
	}
	return &Run{s: s, opts: opts, pace: pacer{rate: opts.Rate}, told: begun()}
}

// Do runs it to its end, or until ctx is done. ErrReturned: it stopped by itself.
// Whatever it returns, Changed are changed, on stable storage, and no others.
func (r *Run) Do(ctx context.Context) error {
	defer r.note(func(p *Progress) { p.Phase = Ended })
	chosen, err := Counted(ctx, r.s, r.opts.Filter)
	if err != nil {
		return err
	}
	phase := Discarding
	switch {
	case !r.opts.Discard && r.opts.Forwards:
		phase = Canary
	case !r.opts.Discard:
		phase = Redriving
	}
	r.note(func(p *Progress) { p.Chosen, p.Phase = chosen, phase })
	_, err = r.opts.Filter.each(ctx, r.s, func(some []spool.Item) error { return r.change(ctx, some) })
	if err != nil || !r.watches() {
		return err
	}
	r.note(func(p *Progress) { p.Phase = Waiting })
	return r.settle(ctx, 0)
}

// change redrives or discards dead letters, at the rate.
func (r *Run) change(ctx context.Context, some []spool.Item) error {
	for len(some) > 0 {
		n, err := r.pace.next(ctx, min(len(some), r.most()))
		if err != nil {
			return err
		}
		if err := r.commit(ctx, some[:n]); err != nil {
			return err
		}
		some = some[n:]
		if err := r.watch(ctx); err != nil {
			return err
		}
	}
	return nil
}

func (r *Run) commit(ctx context.Context, some []spool.Item) error {
	ids, topics := make([]message.ID, 0, len(some)), map[message.ID]string{}
	for _, i := range some {
		ids = append(ids, i.ID)
		topics[i.ID] = i.Topic
	}
	do, verb := r.s.Redrive, "redrive"
	if r.opts.Discard {
		do, verb = r.s.Discard, "discard"
	}
	done, refused, err := do(ctx, ids)
	if r.watches() {
		for _, id := range done {
			r.open = append(r.open, letter{id, topics[id]})
		}
	}
	r.note(func(p *Progress) {
		p.Refused += len(refused)
		p.Changed += len(done)
		p.Open = len(r.open)
	})
	if err != nil {
		return fmt.Errorf("%s dead letters: %w", verb, err)
	}
	return nil
}

// watches reports whether the outcomes can be known.
func (r *Run) watches() bool { return r.opts.Forwards && !r.opts.Discard }

// pacer lets a number of messages pass a second, some at a time.
type pacer struct {
	rate int // 0: no bound
	due  time.Time
}

// steps is how often a second messages pass, at most.
const steps = 10

// next waits until some of n messages may pass, and returns how many.
func (p *pacer) next(ctx context.Context, n int) (int, error) {
	if p.rate == 0 {
		return n, ctx.Err()
	}
	n = min(n, max(1, p.rate/steps))
	if err := backoff.Sleep(ctx, time.Until(p.due)); err != nil {
		return 0, err
	}
	if now := time.Now(); p.due.Before(now) {
		p.due = now
	}
	p.due = p.due.Add(time.Duration(n) * time.Second / time.Duration(p.rate))
	return n, nil
}
