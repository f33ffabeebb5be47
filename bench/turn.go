package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"time"

	"github.com/remora-mq/remora/bench/load"
	"github.com/remora-mq/remora/bench/proc"
	"github.com/remora-mq/remora/bench/report"
)

// calm bounds how long a server may go on working after the last answer.
const calm = 15 * time.Second

// turn measures one peer at one number of connections. What the server still
// does afterwards is part of its cost, and over before the next peer's turn.
func (c *contestant) turn(ctx context.Context, o options, connections int) (report.Sample, error) {
	before, err := c.usage()
	if err != nil {
		return report.Sample{}, err
	}
	memory := c.watchMemory(ctx)
	result, client, err := c.load(ctx, o, connections)
	most, memErr := memory()
	if err := errors.Join(err, memErr); err != nil {
		return report.Sample{}, err
	}
	spent, err := c.spent(ctx, before)
	if err != nil {
		return report.Sample{}, err
	}
	spent.Anonymous = most
	return sampleOf(c.PID() != 0, result, spent, client, o.size), c.Forget(ctx)
}

// load returns also what sending cost this process.
func (c *contestant) load(ctx context.Context, o options, connections int) (r load.Result, client proc.Usage, err error) {
	before, err := readIf(c.PID() != 0, os.Getpid())
	if err != nil {
		return r, client, err
	}
	r, err = load.Run(ctx, c.Dial, load.Options{Connections: connections, Size: o.size, Warmup: o.warmup, Measure: o.measure})
	if err != nil {
		return r, client, err
	}
	after, err := readIf(c.PID() != 0, os.Getpid())
	return r, after.Sub(before), err
}

func (c *contestant) usage() (proc.Usage, error) { return readIf(c.PID() != 0, c.PID()) }

// readIf reads nothing of a peer that has no process of its own.
func readIf(wanted bool, pid int) (proc.Usage, error) {
	if !wanted {
		return proc.Usage{}, nil
	}
	return proc.Read(pid)
}

func (c *contestant) spent(ctx context.Context, before proc.Usage) (proc.Usage, error) {
	if c.PID() == 0 {
		return proc.Usage{}, nil
	}
	if err := proc.Quiet(ctx, c.PID(), calm); err != nil {
		return proc.Usage{}, fmt.Errorf("wait until it is quiet: %w", err)
	}
	after, err := c.usage()
	return after.Sub(before), err
}

// watchMemory samples the anonymous memory until the returned function is
// called, which tells the most.
func (c *contestant) watchMemory(ctx context.Context) func() (int64, error) {
	if c.PID() == 0 {
		return func() (int64, error) { return 0, nil }
	}
	ctx, stop := context.WithCancel(ctx)
	done := make(chan struct{})
	var most int64
	var err error
	go func() {
		defer close(done)
		most, err = proc.MostAnonymous(ctx, c.PID())
	}()
	return func() (int64, error) {
		stop()
		<-done
		return most, err
	}
}

func sampleOf(isServer bool, r load.Result, spent, client proc.Usage, size int) report.Sample {
	s := report.Sample{
		Rate: r.Rate,
		P50:  time.Duration(r.Latency.ValueAtQuantile(50)) * time.Microsecond,
		P99:  time.Duration(r.Latency.ValueAtQuantile(99)) * time.Microsecond,
	}
	if taken := float64(r.Taken); isServer && taken > 0 {
		s.Client = client.CPU.Seconds() / taken * 1e5
		s.Cost = &report.Cost{
			CPU:       spent.CPU.Seconds() / taken * 1e5,
			Written:   float64(spent.Written) / taken / float64(size),
			Anonymous: float64(spent.Anonymous) / (1 << 20),
		}
	}
	return s
}
