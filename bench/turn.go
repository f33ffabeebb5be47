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
	"github.com/remora-mq/remora/bench/serve"
)

// calm bounds how long a server may go on working after the last answer.
const calm = 15 * time.Second

// turn measures one peer at one number of connections. What the server still
// does afterwards is part of its cost, and over before the next peer's turn.
func (c *contestant) turn(ctx context.Context, o options, connections int) (report.Sample, error) {
	before, err := c.meter(ctx)
	if err != nil {
		return report.Sample{}, err
	}
	memory := c.watchMemory(ctx)
	result, err := load.Run(ctx, c.Dial, load.Options{
		Connections: connections, Size: o.size, Warmup: o.warmup, Measure: o.measure, Loaded: memory.look,
	})
	most, memErr := memory.end()
	if err := errors.Join(err, memErr); err != nil {
		return report.Sample{}, err
	}
	after, err := c.settle(ctx)
	if err != nil {
		return report.Sample{}, err
	}
	sample := report.Sample{
		Rate: result.Rate,
		P50:  time.Duration(result.Latency.ValueAtQuantile(50)) * time.Microsecond,
		P99:  time.Duration(result.Latency.ValueAtQuantile(99)) * time.Microsecond,
	}
	if c.PID() != 0 && result.Taken > 0 {
		sample.Client, sample.Cost = after.sub(before).cost(float64(result.Taken), o.size)
		sample.Cost.Anonymous = float64(most) / (1 << 20)
	}
	return sample, c.Forget(ctx)
}

// meter is all that has been spent so far.
type meter struct {
	server, client proc.Usage
	commits        serve.Commits
}

func (m meter) sub(earlier meter) meter {
	return meter{m.server.Sub(earlier.server), m.client.Sub(earlier.client), m.commits.Sub(earlier.commits)}
}

// cost spreads it over the messages; client is seconds of this process.
func (m meter) cost(messages float64, size int) (client float64, c *report.Cost) {
	const unit = 100_000
	c = report.NewCost(m.server.CPU, m.server.Written, messages, size)
	if n := m.commits.Count; n > 0 {
		c.Shared, c.Commit = messages/float64(n), m.commits.Took/time.Duration(n)
	}
	return m.client.CPU.Seconds() / messages * unit, c
}

// committing is a peer that tells of its commits.
type committing interface {
	Commits(ctx context.Context) (serve.Commits, error)
}

// meter reads nothing of a peer that has no process of its own.
func (c *contestant) meter(ctx context.Context) (m meter, err error) {
	if c.PID() == 0 {
		return m, nil
	}
	if m.server, err = proc.ReadTree(c.PID()); err != nil {
		return m, err
	}
	if m.client, err = proc.Read(os.Getpid()); err != nil {
		return m, err
	}
	if told, ok := c.Running.(committing); ok {
		m.commits, err = told.Commits(ctx)
	}
	return m, err
}

// settle reads the meter of this process now, and that of the server when it
// has become quiet.
func (c *contestant) settle(ctx context.Context) (m meter, err error) {
	if c.PID() == 0 {
		return m, nil
	}
	now, err := c.meter(ctx)
	if err != nil {
		return m, err
	}
	if err := proc.Quiet(ctx, c.PID(), calm); err != nil {
		return m, fmt.Errorf("wait until it is quiet: %w", err)
	}
	m, err = c.meter(ctx)
	m.client, m.commits = now.client, now.commits
	return m, err
}
