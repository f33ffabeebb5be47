package main

import (
	"context"
	"fmt"
	"path/filepath"
	"time"

	"github.com/remora-mq/remora/bench/load"
	"github.com/remora-mq/remora/bench/report"
)

// outage is one run, and what was seen.
type outage struct {
	options
	dir string

	full, empty *child

	run report.Run
	seen
}

// seen is what there is one of in a run. Sizes are in MiB.
type seen struct {
	waiting           uint64 // at the most
	passed            uint64 // messages before the head was looked for
	fresh             fresh
	memFull, diskFull float64 // with all waiting, just after a load
	memOpened         float64 // with all waiting, just opened
	killed, stopped   time.Duration
	drained           float64 // messages a second
	memAfter          float64 // a while after the drain
	diskAll, diskLeft float64 // the same: all of it, and what is not meant to be kept
	memLoaded         float64 // a while after as many messages again
	heads             []time.Duration
}

// The peers of the page: spools that differ in what waits in them.
const (
	nearlyEmpty = "nearly empty spool"
	fullSpool   = "full spool"
)

const many = 256 // connections, for as much load as there can be

func (r *outage) end() {
	for _, c := range []*child{r.full, r.empty} {
		if c != nil {
			c.Kill()
		}
	}
}

func (r *outage) play(ctx context.Context) error {
	r.run.Connections = []int{r.connections}
	r.run.Peers = []string{nearlyEmpty, fullSpool}
	for _, step := range []func(context.Context) error{
		r.lookFresh, r.start, r.fill, r.compare, r.reopen, r.drain, r.look, r.pass, r.lookAgain, r.leaveSome, r.findHeads,
	} {
		if err := step(ctx); err != nil {
			return err
		}
	}
	return nil
}

func (r *outage) lookFresh(ctx context.Context) (err error) {
	if r.sidecar == "" {
		return nil
	}
	progressf("looking at a fresh sidecar for %v", r.idle)
	r.seen.fresh, err = readFresh(ctx, r.sidecar, filepath.Join(r.dir, "fresh"), r.idle)
	return err
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
	for r.waiting < uint64(r.messages) {
		res, err := r.full.load(ctx, many, r.step)
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
		r.run.Rounds = append(r.run.Rounds, report.Round{
			{Peer: nearlyEmpty, Connections: r.connections}: sample(empty),
			{Peer: fullSpool, Connections: r.connections}:   sample(full),
		})
	}
	t, err := r.full.totals(ctx)
	if err != nil {
		return err
	}
	r.waiting = t.InSpool.Held()
	if r.memFull, err = r.full.anonymous(); err != nil {
		return err
	}
	d, err := readDisk(r.full.dir)
	r.diskFull = float64(d.all) / mebibyte
	return err
}

func sample(r load.Result) report.Sample {
	at := func(percent float64) time.Duration {
		return time.Duration(r.Latency.ValueAtQuantile(percent)) * time.Microsecond
	}
	return report.Sample{Rate: r.Rate, P50: at(50), P99: at(99)}
}

// reopen opens the full spool after a kill, and after a clean stop.
func (r *outage) reopen(ctx context.Context) (err error) {
	r.full.Kill()
	if r.full, err = startChild(ctx, r.full.dir); err != nil {
		return fmt.Errorf("open after kill -9: %w", err)
	}
	r.killed = r.full.Opened
	if err := r.full.stop(); err != nil {
		return fmt.Errorf("stop: %w", err)
	}
	if r.full, err = startChild(ctx, r.full.dir); err != nil {
		return fmt.Errorf("open after a clean stop: %w", err)
	}
	r.stopped = r.full.Opened
	progressf("open after kill -9: %v; after a clean stop: %v", r.killed, r.stopped)
	r.memOpened, err = r.full.anonymous()
	return err
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
	if err := r.awaitEmpty(ctx); err != nil {
		return err
	}
	r.drained = float64(before.InSpool.Held()) / time.Since(began).Seconds()
	return nil
}

func (r *outage) awaitEmpty(ctx context.Context) error {
	for n := 0; ; n++ {
		t, err := r.full.totals(ctx)
		if err != nil {
			return err
		}
		left := t.InSpool.Held()
		if left == 0 {
			return nil
		}
		if n%100 == 0 {
			progressf("%d are left", left)
		}
		if err := wait(ctx, 100*time.Millisecond); err != nil {
			return err
		}
	}
}

// look waits and tells what is left.
func (r *outage) look(ctx context.Context) (err error) {
	progressf("looking again in %v", r.settle)
	if err := wait(ctx, r.settle); err != nil {
		return err
	}
	if r.memAfter, err = r.full.anonymous(); err != nil {
		return err
	}
	known, err := r.full.known(ctx)
	if err != nil {
		return err
	}
	d, err := readDisk(r.full.dir)
	r.diskAll, r.diskLeft = float64(d.all)/mebibyte, d.beyond(known)
	progressf("disk: %d MiB, of which prepared logs %d MiB; %d receipts, %d MiB of keys",
		d.all/mebibyte, d.prepared/mebibyte, known.Receipts, known.DedupeBytes/mebibyte)
	return err
}

// pass loads the spool as fast as it takes messages, while the broker takes them
// too, until twice as many have passed as waited.
func (r *outage) pass(ctx context.Context) error {
	for {
		t, err := r.full.totals(ctx)
		if err != nil {
			return err
		}
		if t.Accepted >= 2*uint64(r.messages) {
			return r.awaitEmpty(ctx)
		}
		res, err := r.full.load(ctx, many, r.step)
		if err != nil {
			return fmt.Errorf("pass: %w", err)
		}
		progressf("%d of %d have passed; %.0f/s", t.Accepted, 2*r.messages, res.Rate)
	}
}

func (r *outage) lookAgain(ctx context.Context) (err error) {
	progressf("looking again in %v", r.settle)
	if err := wait(ctx, r.settle); err != nil {
		return err
	}
	r.memLoaded, err = r.full.anonymous()
	return err
}

// leaveSome has some messages wait behind all that have passed, and stops.
func (r *outage) leaveSome(ctx context.Context) error {
	t, err := r.full.totals(ctx)
	if err != nil {
		return err
	}
	r.passed = t.Confirmed
	if err := r.full.shut(ctx); err != nil {
		return err
	}
	if _, err := r.full.load(ctx, r.connections, r.measure); err != nil {
		return fmt.Errorf("leave some: %w", err)
	}
	return r.full.stop()
}

func (r *outage) findHeads(ctx context.Context) error {
	for range r.rounds {
		took, err := findHead(ctx, r.full.dir)
		if err != nil {
			return fmt.Errorf("find the head: %w", err)
		}
		progressf("the head was found in %v, after %d messages", took, r.passed)
		r.heads = append(r.heads, took)
	}
	return nil
}
