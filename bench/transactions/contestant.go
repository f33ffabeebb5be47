package main

import (
	"context"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"sync/atomic"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/remora-mq/remora/bench/load"
	"github.com/remora-mq/remora/bench/peer"
	"github.com/remora-mq/remora/bench/proc"
	"github.com/remora-mq/remora/bench/report"
	"github.com/remora-mq/remora/bench/serve"
	"github.com/remora-mq/remora/spool"
)

const (
	bodySize = 1024
	// calm bounds how long a server may go on working after the last answer.
	calm = 15 * time.Second
	// fillers are the connections that open transactions.
	fillers = 256
)

// contestant is a server that is up. It runs only when it has its turn.
type contestant struct {
	*serve.Process

	name  string
	dial  func(ctx context.Context) (load.Client, error) // of what is measured
	open  int                                            // half messages that it holds
	due   bool                                           // they are to be checked
	taken uint64                                         // messages that were answered, beside those
}

func start(ctx context.Context, dir, name string) (*contestant, error) {
	dir = filepath.Join(dir, name)
	if err := os.Mkdir(dir, 0o700); err != nil {
		return nil, err
	}
	p, err := serve.Start(ctx, serve.Held, dir)
	if err != nil {
		return nil, err
	}
	c := &contestant{Process: p, name: name}
	c.dial = func(ctx context.Context) (load.Client, error) { return peer.DialServer(ctx, p.Hello.Addr) }
	return c, p.Ask(ctx, http.MethodPost, "/open", nil)
}

// transact has it measured by transactions, which are committed.
func (c *contestant) transact(check string) {
	c.dial = func(ctx context.Context) (load.Client, error) {
		return peer.DialTransactions(ctx, c.Hello.Addr, check, true)
	}
}

// fill leaves n transactions open.
func (c *contestant) fill(ctx context.Context, n int, check string) error {
	var begun atomic.Int64
	group, ctx := errgroup.WithContext(ctx)
	for i := range fillers {
		group.Go(func() error {
			t, err := peer.DialTransactions(ctx, c.Hello.Addr, check, false)
			if err != nil {
				return err
			}
			defer t.Close()
			defer context.AfterFunc(ctx, func() { _ = t.Close() })() // ends what waits for an answer
			bodies := load.NewBodies(bodySize, i)
			for begun.Add(1) <= int64(n) {
				if err := t.Send(bodies.Next()); err != nil {
					return err
				}
			}
			return nil
		})
	}
	c.open = n
	if err := group.Wait(); err != nil {
		return fmt.Errorf("open transactions: %w", err)
	}
	return nil
}

// turn measures it. What it still does afterwards is part of its cost, but where that
// has no end.
func (c *contestant) turn(ctx context.Context, o *options, connections int) (sample report.Sample, err error) {
	before, err := c.meter(ctx)
	if err != nil {
		return sample, err
	}
	var most int64
	result, err := load.Run(ctx, c.dial, load.Options{
		Connections: connections, Size: bodySize, Warmup: o.warmup, Measure: o.measure,
		Loaded: func() { most, err = proc.Anonymous(c.PID()) },
	})
	if err != nil {
		return sample, err
	}
	c.taken += uint64(result.Taken)
	if !c.due {
		if err := proc.Quiet(ctx, c.PID(), calm); err != nil {
			return sample, err
		}
	}
	after, err := c.meter(ctx)
	if err != nil {
		return sample, err
	}
	spent, commits := after.Usage.Sub(before.Usage), after.Commits.Sub(before.Commits)
	sample = report.Sample{
		Rate: result.Rate, P50: at(result, 50), P99: at(result, 99),
		Cost: report.NewCost(spent.CPU, spent.Written, float64(result.Taken), bodySize),
	}
	sample.Cost.Anonymous = float64(most) / (1 << 20)
	if n := commits.Count; n > 0 {
		sample.Cost.Shared, sample.Cost.Commit = float64(result.Taken)/float64(n), commits.Took/time.Duration(n)
	}
	return sample, nil
}

// meter is all that it has spent so far.
type meter struct {
	proc.Usage
	serve.Commits
}

func (c *contestant) meter(ctx context.Context) (m meter, err error) {
	if m.Usage, err = proc.Read(c.PID()); err != nil {
		return m, err
	}
	return m, c.Ask(ctx, http.MethodGet, "/commits", &m.Commits)
}

func at(r load.Result, percent float64) time.Duration {
	return time.Duration(r.Latency.ValueAtQuantile(percent)) * time.Microsecond
}

// check compares what the spool holds with what was answered, when all is forwarded
// or the time is over.
func (c *contestant) check(ctx context.Context, within time.Duration) error {
	if err := c.Resume(); err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, within)
	defer cancel()
	for {
		var total spool.Counts
		var open spool.TransactionCounts
		if err := c.Ask(ctx, http.MethodGet, "/totals", &total); err != nil {
			return err
		}
		if err := c.Ask(ctx, http.MethodGet, "/transactions", &open); err != nil {
			return err
		}
		all := c.taken + uint64(c.open)
		if total.Accepted == all && total.Confirmed == c.taken && open.Half == c.open {
			return nil
		}
		select {
		case <-time.After(100 * time.Millisecond):
		case <-ctx.Done():
			return fmt.Errorf("%s: %d messages were answered, %d of them half; the spool has accepted %d and confirmed %d, and %d are half",
				c.name, all, c.open, total.Accepted, total.Confirmed, open.Half)
		}
	}
}
