package deadletter

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/remora-mq/remora/broker"
	"github.com/remora-mq/remora/internal/backoff"
)

// GroupOptions of a GroupRun.
type GroupOptions struct {
	Filter GroupFilter
	// Discard ends the dead letters; else they are redriven to the group.
	Discard bool
	// Rate is messages a second. 0: DefaultRate for a redrive, no bound for a discard.
	Rate int
	// Watch is how long a redrive waits after its canary, and at its end, for what
	// dies again; 0: 2 s.
	Watch time.Duration
}

// GroupRun redrives or discards dead letters of a group. One that was redriven is
// counted when the broker has confirmed its copy in the group's retry topic and
// that is noted on stable storage: a crash between the two leaves a dead letter
// that is redriven again, under the same identity.
//
// A redrive begins with a canary, and stops when more than a tenth of what it has
// redriven are dead letters again. What else becomes of them is the group's: any
// member may have them.
type GroupRun struct {
	g    *Group
	opts GroupOptions
	pace pacer

	batch    []Letter // to be changed
	redriven map[string]bool
	tails    map[string]int64 // by queue: up to where was looked for what died again
	looked   time.Time

	*told
}

// stepMost is how many are changed by one commit of the notes: as many may be
// redriven twice when the process dies.
const stepMost = 20

// watchedMost bounds how many identities are looked for.
const watchedMost = 100_000

// NewRun returns a run that has not begun.
func (g *Group) NewRun(opts GroupOptions) *GroupRun {
	if opts.Rate == 0 && !opts.Discard {
		opts.Rate = DefaultRate
	}
	if opts.Watch == 0 {
		opts.Watch = 2 * time.Second
	}
	return &GroupRun{
		g: g, opts: opts, pace: pacer{rate: opts.Rate}, redriven: map[string]bool{}, tails: map[string]int64{},
		told: begun(),
	}
}

// Do runs it to its end, or until ctx is done. ErrReturned: it stopped by itself.
// Whatever it returns, Changed are changed, on stable storage; after an error one
// more step may have been redriven.
func (r *GroupRun) Do(ctx context.Context) error {
	defer r.note(func(p *Progress) { p.Phase = Ended })
	chosen, err := r.g.Count(ctx, r.opts.Filter)
	if err != nil {
		return err
	}
	phase := Canary
	if r.opts.Discard {
		phase = Discarding
	}
	r.note(func(p *Progress) { p.Chosen, p.Phase = chosen, phase })
	if err := r.mark(ctx); err != nil {
		return err
	}
	err = r.g.each(ctx, &r.opts.Filter, cursor{}, func(l *Letter) (bool, error) { return true, r.add(ctx, l) })
	if err == nil {
		err = r.flush(ctx)
	}
	r.tell(ctx)
	if err != nil || r.opts.Discard {
		return err
	}
	r.note(func(p *Progress) { p.Phase = Waiting })
	return r.watch(ctx, r.opts.Watch)
}

// mark notes where the queues end: what comes later may have died again.
func (r *GroupRun) mark(ctx context.Context) error {
	places, err := r.g.look(ctx)
	for _, p := range places {
		r.tails[p.queue] = p.waiting.Next()
	}
	return err
}

// add collects what one step takes.
func (r *GroupRun) add(ctx context.Context, l *Letter) error {
	kept := *l
	if r.opts.Discard {
		kept.Body, kept.Handle = nil, nil
	}
	if r.batch = append(r.batch, kept); len(r.batch) < r.most() {
		return nil
	}
	return r.flush(ctx)
}

// most is how many the next step has.
func (r *GroupRun) most() int {
	if r.opts.Discard {
		return pageSize
	}
	most := min(stepMost, max(1, r.opts.Rate/steps))
	if p := r.Progress(); p.Phase == Canary {
		most = min(most, canary-p.Changed)
	}
	return most
}

// flush changes what was collected, at the rate.
func (r *GroupRun) flush(ctx context.Context) error {
	for len(r.batch) > 0 {
		n, err := r.pace.next(ctx, len(r.batch))
		if err != nil {
			return err
		}
		some := r.batch[:n]
		r.batch = r.batch[n:]
		if err := r.step(ctx, some); err != nil {
			return err
		}
		if err := r.beware(ctx); err != nil {
			return err
		}
	}
	return nil
}

// step changes some, and notes those on stable storage.
func (r *GroupRun) step(ctx context.Context, some []Letter) error {
	done := map[string][]int64{}
	var failed error
	for i := range some {
		if failed = r.redrive(ctx, &some[i]); errors.Is(failed, broker.ErrUnsendable) {
			r.note(func(p *Progress) { p.Refused++ })
			failed = nil
			continue
		}
		if failed != nil {
			break
		}
		done[some[i].Queue] = append(done[some[i].Queue], some[i].Offset)
	}
	for queue, offsets := range done { // also when ctx is done: the copies are there
		if err := r.g.notes.Settle(context.WithoutCancel(ctx), r.g.name, queue, offsets); err != nil {
			return errors.Join(failed, err)
		}
		r.note(func(p *Progress) {
			if p.Changed += len(offsets); !r.opts.Discard {
				p.Confirmed += len(offsets)
			}
		})
	}
	return failed
}

func (r *GroupRun) redrive(ctx context.Context, l *Letter) error {
	if r.opts.Discard {
		return nil
	}
	if err := r.g.dead.Redrive(ctx, &l.DeadLetter); err != nil {
		return fmt.Errorf("redrive dead letters: %w", err)
	}
	if len(r.redriven) < watchedMost {
		r.redriven[l.Identity] = true
	}
	return nil
}

// beware waits for what becomes of the canary, and later looks once a second.
func (r *GroupRun) beware(ctx context.Context) error {
	p := r.Progress()
	switch {
	case r.opts.Discard:
		return nil
	case p.Phase == Canary && p.Changed < canary:
		return nil
	case p.Phase == Canary:
		if err := r.watch(ctx, r.opts.Watch); err != nil {
			return err
		}
		r.note(func(p *Progress) { p.Phase = Redriving })
		return nil
	case time.Since(r.looked) < time.Second:
		return nil
	}
	r.tell(ctx)
	return r.lookBack(ctx)
}

// watch looks for what dies again until d has passed.
func (r *GroupRun) watch(ctx context.Context, d time.Duration) error {
	for until := time.Now().Add(d); ; {
		if err := r.lookBack(ctx); err != nil {
			return err
		}
		left := time.Until(until)
		if left <= 0 || len(r.redriven) == 0 {
			return nil
		}
		if err := backoff.Sleep(ctx, min(left, lookEvery)); err != nil {
			return err
		}
	}
}

// lookBack reads the dead letters that came since the last look, and stops the run
// when too many of what was redriven are among them.
func (r *GroupRun) lookBack(ctx context.Context) error {
	r.looked = time.Now()
	places, err := r.g.look(ctx)
	if err != nil {
		return err
	}
	for _, p := range places {
		_, err := r.g.eachOf(ctx, &GroupFilter{}, p, max(r.tails[p.queue], p.waiting.From()), func(l *Letter) (bool, error) {
			if r.redriven[l.Identity] {
				delete(r.redriven, l.Identity)
				r.note(func(p *Progress) { p.Dead[l.Cause]++ })
			}
			return true, nil
		})
		if err != nil {
			return err
		}
		r.tails[p.queue] = p.waiting.Next()
	}
	if p := r.Progress(); p.dead()*tolerated > p.Changed {
		return fmt.Errorf("%w: %d of the %d that were redriven, by cause: %s", ErrReturned, p.dead(), p.Changed, p.deadByCause())
	}
	return nil
}

// tell notes at the broker how far the queues are settled.
func (r *GroupRun) tell(ctx context.Context) {
	if _, err := r.g.look(context.WithoutCancel(ctx)); err != nil {
		r.g.log.Warn("the broker was not told how far dead letters are settled", "error", err)
	}
}
