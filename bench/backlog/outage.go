package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"path/filepath"
	"slices"
	"time"
)

// outage is one run, and what was seen.
type outage struct {
	options
	dir string

	full, empty *child

	waiting            uint64
	ratios             []float64 // accepts of the full one / of the empty one, a round each
	rates              []float64 // of the full one
	memFull, memAfter  float64   // MiB
	diskFull, diskLeft float64   // MiB
	killed, stopped    time.Duration
	drained            float64 // messages a second
}

func (r *outage) end() {
	for _, c := range []*child{r.full, r.empty} {
		if c != nil {
			c.kill()
		}
	}
}

func (r *outage) play(ctx context.Context) error {
	for _, step := range []func(context.Context) error{r.start, r.fill, r.compare, r.reopen, r.drain, r.look} {
		if err := step(ctx); err != nil {
			return err
		}
	}
	return nil
}

func (r *outage) start(ctx context.Context) (err error) {
	if r.full, err = startChild(ctx, filepath.Join(r.dir, "full")); err != nil {
		return err
	}
	r.empty, err = startChild(ctx, filepath.Join(r.dir, "empty"))
	return err
}

// fill accepts until enough wait.
func (r *outage) fill(ctx context.Context) error {
	const step = 5 * time.Second
	for r.waiting < uint64(r.messages) {
		res, err := r.full.load(ctx, 256, step)
		if err != nil {
			return fmt.Errorf("fill: %w", err)
		}
		t, err := r.full.totals(ctx)
		if err != nil {
			return err
		}
		r.waiting = t.InSpool.Held()
		mem, err := r.full.anonymous()
		if err != nil {
			return err
		}
		progressf("%d of %d wait; %.0f/s; %.0f MiB of anonymous memory", r.waiting, r.messages, res.Rate, mem)
	}
	return nil
}

// compare takes turns between the full spool and the empty one.
func (r *outage) compare(ctx context.Context) error {
	for n := range r.rounds {
		empty, err := r.empty.load(ctx, r.connections, r.measure)
		if err != nil {
			return fmt.Errorf("accept into the empty spool: %w", err)
		}
		full, err := r.full.load(ctx, r.connections, r.measure)
		if err != nil {
			return fmt.Errorf("accept into the full spool: %w", err)
		}
		progressf("round %d of %d: empty %.0f/s, full %.0f/s", n+1, r.rounds, empty.Rate, full.Rate)
		r.ratios, r.rates = append(r.ratios, full.Rate/empty.Rate), append(r.rates, full.Rate)
	}
	var err, err2 error
	r.memFull, err = r.full.anonymous()
	r.diskFull, err2 = r.full.disk()
	return errors.Join(err, err2)
}

// reopen opens the full spool after a kill, and after a clean stop.
func (r *outage) reopen(ctx context.Context) (err error) {
	r.full.kill()
	if r.full, err = startChild(ctx, r.full.dir); err != nil {
		return fmt.Errorf("open after kill -9: %w", err)
	}
	r.killed = r.full.opened
	if err := r.full.stop(); err != nil {
		return fmt.Errorf("stop: %w", err)
	}
	if r.full, err = startChild(ctx, r.full.dir); err != nil {
		return fmt.Errorf("open after a clean stop: %w", err)
	}
	r.stopped = r.full.opened
	progressf("open after kill -9: %v; after a clean stop: %v", r.killed, r.stopped)
	return nil
}

// drain lets the broker take everything.
func (r *outage) drain(ctx context.Context) error {
	before, err := r.full.totals(ctx)
	if err != nil {
		return err
	}
	if err := r.full.open(ctx); err != nil {
		return err
	}
	began := time.Now()
	tick := time.NewTicker(time.Second)
	defer tick.Stop()
	for n := 0; ; n++ {
		t, err := r.full.totals(ctx)
		if err != nil {
			return err
		}
		left := t.InSpool.Held()
		if n%10 == 0 {
			progressf("%d are left", left)
		}
		if left == 0 {
			break
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
	r.drained = float64(before.InSpool.Held()) / time.Since(began).Seconds()
	return nil
}

// look waits and tells what is left.
func (r *outage) look(ctx context.Context) (err error) {
	select {
	case <-time.After(r.settle):
	case <-ctx.Done():
		return context.Cause(ctx)
	}
	if r.memAfter, err = r.full.anonymous(); err != nil {
		return err
	}
	r.diskLeft, err = r.full.disk()
	return err
}

func (r *outage) write(w io.Writer) error {
	_, err := fmt.Fprintf(w, `%d messages of 1 KiB wait for a broker that refuses everything.

accepts at %d / of a nearly empty spool   %s   (asked: >= 0.9)
accepts at %d, msg/s                      %s
anonymous memory with all waiting         %.0f MiB   (asked: <= 160)
disk with all waiting                     %.0f MiB
open after kill -9                        %v   (asked: <= 3 s)
open after a clean stop                   %v   (asked: <= 1 s)
drain into a broker that takes all        %.0f msg/s
%v after the drain: anonymous memory      %.0f MiB   (asked: <= 64)
%v after the drain: disk                  %.0f MiB   (asked: <= 128 beyond ballast, logs, receipts and keys)
`, r.waiting, r.connections, spread(r.ratios), r.connections, spread(r.rates), r.memFull, r.diskFull,
		r.killed.Round(time.Millisecond), r.stopped.Round(time.Millisecond), r.drained, r.settle, r.memAfter, r.settle, r.diskLeft)
	return err
}

// spread is median (min–max).
func spread(all []float64) string {
	slices.SortFunc(all, cmp.Compare)
	return fmt.Sprintf("%.4g (%.4g–%.4g)", all[len(all)/2], all[0], all[len(all)-1])
}
