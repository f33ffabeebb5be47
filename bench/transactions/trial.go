package main

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/remora-mq/remora/bench/proc"
	"github.com/remora-mq/remora/bench/report"
)

// The peers of the page, besides those that hold open transactions.
const (
	plain   = "plain accepts"
	decided = "prepare + commit"
)

func (o *options) opened() string { return fmt.Sprintf("%d open", o.open) }
func (o *options) due() string    { return fmt.Sprintf("%d due", o.open) }

// trial is one run.
type trial struct {
	options

	dir  string
	app  *application
	up   []*contestant
	run  report.Run
	pace pace // of the check-backs
}

func (t *trial) play(ctx context.Context) (err error) {
	t.run.Title, t.run.Connections = t.title(), connections
	if t.app, err = startApplication(); err != nil {
		return err
	}
	defer func() { err = errors.Join(err, t.app.end()) }()
	defer func() {
		for _, c := range t.up {
			c.Kill()
		}
	}()
	if err := t.start(ctx); err != nil {
		return err
	}
	if err := t.playRounds(ctx); err != nil {
		return err
	}
	t.pace = t.app.pace()
	for _, c := range t.up {
		if err := c.check(ctx, time.Minute); err != nil {
			return err
		}
	}
	return nil
}

// check is what a transaction says of check-backs: the first after that time, and each
// one a second after the one before. So those that are due stay due, however few they
// are and however long the run, and none becomes undecided.
func (t *trial) check(after string) string {
	return fmt.Sprintf(`{"url":%q,"after":%q,"interval":"1s","max_attempts":1000000}`, t.app.url, after)
}

func (t *trial) start(ctx context.Context) error {
	for _, name := range []string{plain, decided, t.opened(), t.due()} {
		c, err := start(ctx, t.dir, name)
		if c != nil {
			t.up = append(t.up, c)
		}
		if err != nil {
			return fmt.Errorf("start %s: %w", name, err)
		}
		t.run.Peers = append(t.run.Peers, name)
		progressf("preparing %s", name)
		if err := t.prepare(ctx, c); err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
		if err := c.Pause(); err != nil {
			return err
		}
	}
	return nil
}

func (t *trial) prepare(ctx context.Context, c *contestant) error {
	switch c.name {
	case decided:
		c.transact(t.check("1h"))
	case t.opened():
		return errors.Join(c.fill(ctx, t.open, t.check("24h")), proc.Quiet(ctx, c.PID(), calm))
	case t.due():
		c.due = true
		return errors.Join(c.fill(ctx, t.open, t.check("0s")), proc.Quiet(ctx, c.PID(), t.rest()))
	}
	return nil
}

// rest bounds how long a server with transactions that are due is waited for before it is
// measured: a database goes on compacting what it was filled with, the longer the more
// that was, and asking never ends.
func (o *options) rest() time.Duration {
	return min(calm, time.Duration(o.open/10)*time.Second/mostInSecond)
}

func (t *trial) playRounds(ctx context.Context) error {
	others, err := proc.WatchOthers()
	if err != nil {
		return err
	}
	for n := range t.rounds {
		round := report.Round{}
		for _, connections := range t.run.Connections {
			for _, c := range t.up {
				sample, err := t.turn(ctx, c, connections)
				if err != nil {
					return fmt.Errorf("%s at %d connections: %w", c.name, connections, err)
				}
				progressf("round %d of %d, %s at %d: %.0f/s", n+1, t.rounds, c.name, connections, sample.Rate)
				round[report.Key{Peer: c.name, Connections: connections}] = sample
			}
		}
		t.run.Rounds = append(t.run.Rounds, round)
	}
	t.run.Machine, err = others.Verdict()
	return err
}

// turn has one of them run, and no other.
func (t *trial) turn(ctx context.Context, c *contestant, connections int) (sample report.Sample, err error) {
	if err := c.Resume(); err != nil {
		return sample, err
	}
	defer func() { err = errors.Join(err, c.Pause()) }()
	if c.due {
		if err := t.app.await(ctx); err != nil {
			return sample, err
		}
	}
	before := t.app.pace().all
	sample, err = c.turn(ctx, &t.options, connections)
	if asked := t.app.pace().all - before; err == nil && asked == 0 && c.due {
		err = errors.New("the application was not asked")
	}
	return sample, err
}
