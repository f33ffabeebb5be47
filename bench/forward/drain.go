package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"time"

	"github.com/remora-mq/remora/bench/built"
	"github.com/remora-mq/remora/bench/proc"
	"github.com/remora-mq/remora/bench/report"
)

// calm bounds how long a sidecar may go on working after the last answer.
const calm = 15 * time.Second

// nobody is an address that refuses connections.
const nobody = "127.0.0.1:1"

// drainOne also gives what it costs to accept, which is all that happens while
// there is no broker.
func (t *trial) drainOne(ctx context.Context, round report.Round) error {
	before, err := t.stored(ctx)
	if err != nil {
		return err
	}
	accept, drain, err := t.drain(ctx, loadOfOne(t.messages))
	if err != nil {
		return err
	}
	round[report.Key{Peer: accepts, Connections: t.connections}] = accept
	round[report.Key{Peer: drainsOne, Connections: t.attempts}] = drain
	after, err := t.stored(ctx)
	more := after - before - int64(t.messages)
	if err == nil && more < 0 {
		err = fmt.Errorf("the broker has %d messages more, for %d that were confirmed", after-before, t.messages)
	}
	t.repeats += more
	return err
}

func (t *trial) drainMany(ctx context.Context, round report.Round) error {
	_, drain, err := t.drain(ctx, loadOfMany(t.messages, t.topics, t.keys))
	round[report.Key{Peer: drainsMany, Connections: t.attempts}] = drain
	return err
}

func (t *trial) drainBeside(ctx context.Context, round report.Round) error {
	_, drain, err := t.drain(ctx, besideStuck(loadOfMany(t.messages, t.topics, t.keys)))
	round[report.Key{Peer: drainsBeside, Connections: t.attempts}] = drain
	return err
}

// drain fills a spool while no name server answers, and starts the sidecar
// again with one that does.
func (t *trial) drain(ctx context.Context, l workload) (accept, drain report.Sample, err error) {
	dir := t.newDir()
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	if accept, err = t.fill(ctx, dir, l); err != nil {
		return accept, drain, err
	}
	s, err := t.start(ctx, dir, t.cluster.NameServerAddrs()[0])
	if err != nil {
		return accept, drain, err
	}
	defer func() { err = errors.Join(err, s.End()) }()
	before, err := proc.Read(s.PID())
	if err != nil {
		return accept, drain, err
	}
	if drain.Rate, err = awaitConfirmed(ctx, s, l.sendable); err != nil {
		return accept, drain, err
	}
	drain.Cost, err = costSince(ctx, s, before, l.sendable)
	return accept, drain, err
}

func (t *trial) fill(ctx context.Context, dir string, l workload) (accept report.Sample, err error) {
	s, err := t.start(ctx, dir, nobody)
	if err != nil {
		return accept, err
	}
	defer func() { err = errors.Join(err, s.End()) }()
	before, err := proc.Read(s.PID())
	if err != nil {
		return accept, err
	}
	if accept.Rate, err = post(ctx, s.Data[0], t.connections, l); err != nil {
		return accept, err
	}
	accept.Cost, err = costSince(ctx, s, before, l.messages)
	return accept, err
}

// forward accepts while the broker takes what was accepted; then the same sidecar
// is looked at with little to do.
func (t *trial) forward(ctx context.Context, round report.Round) (err error) {
	dir := t.newDir()
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	s, err := t.start(ctx, dir, t.cluster.NameServerAddrs()[0])
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, s.End()) }()
	before, err := proc.Read(s.PID())
	if err != nil {
		return err
	}
	l := loadOfOne(t.messages)
	rate, err := post(ctx, s.Data[0], t.connections, l)
	if err != nil {
		return err
	}
	if _, err = awaitConfirmed(ctx, s, l.sendable); err != nil {
		return err
	}
	cost, err := costSince(ctx, s, before, l.messages)
	if err != nil {
		return err
	}
	round[report.Key{Peer: forwards, Connections: t.connections}] = report.Sample{Rate: rate, Cost: cost}
	progressf("low load")
	return t.lowLoad(ctx, s, round)
}

func (t *trial) newDir() string {
	t.spools++
	return filepath.Join(t.dir, "spool-"+strconv.Itoa(t.spools))
}

// start runs the sidecar with the defaults that it ships with, but for what has
// to be large enough.
func (t *trial) start(ctx context.Context, dir, nameServer string) (*built.Sidecar, error) {
	return built.Start(ctx, t.sidecar, dir,
		"broker.type=rocketmq", "broker.rocketmq.name_servers=["+nameServer+"]",
		"forwarder.concurrency="+strconv.Itoa(2*t.attempts), // a topic has half of it
		fmt.Sprintf("spool.limit=%dMiB", 1024+t.messages/100), "spool.topic_share=100%",
		"drain.timeout=1ms") // what is to be drained is left for the next process
}

// stored is how many messages the topic's queues have had, once that stays the
// same: a broker tells its clients before its queues have a message.
func (t *trial) stored(ctx context.Context) (n int64, err error) {
	for last := int64(-1); n != last; {
		last, n = n, 0
		for queue := range queues {
			top, err := t.cluster.Brokers[0].MaxOffset(oneTopic, queue)
			if err != nil {
				return 0, err
			}
			n += top
		}
		select {
		case <-time.After(500 * time.Millisecond):
		case <-ctx.Done():
			return 0, context.Cause(ctx)
		}
	}
	return n, nil
}

// confirmations is a series of the sidecar.
const confirmations = "remora_forward_confirm_seconds_count"

// awaitConfirmed returns when n are, and how many a second there were.
func awaitConfirmed(ctx context.Context, s *built.Sidecar, n int) (rate float64, err error) {
	var first float64
	began := time.Now()
	for last, step := began, time.Duration(0); ; {
		select {
		case <-time.After(step):
		case <-s.Exited():
			return 0, errors.New("the sidecar ended")
		case <-ctx.Done():
			return 0, context.Cause(ctx)
		}
		values, err := s.Metrics(ctx, confirmations)
		if err != nil {
			return 0, err
		}
		now, done := time.Now(), values[0]
		if step == 0 {
			began, first = now, done
		}
		if done >= float64(n) {
			return (done - first) / now.Sub(began).Seconds(), nil
		}
		step = nextLook(now.Sub(began), done-first, float64(n)-done)
		if now.Sub(last) > 10*time.Second {
			last = now
			progressf("%.0f of %d are confirmed", done, n)
		}
	}
}

// nextLook is a quarter of the time that is left, as it seems: looking costs the
// sidecar a millisecond.
func nextLook(passed time.Duration, done, left float64) time.Duration {
	if done <= 0 {
		return 10 * time.Millisecond
	}
	seems := time.Duration(float64(passed) * left / done)
	return min(max(seems/4, 10*time.Millisecond), time.Second)
}

// costSince reads the processor time when the sidecar has become quiet.
func costSince(ctx context.Context, s *built.Sidecar, before proc.Usage, messages int) (*report.Cost, error) {
	if err := proc.Quiet(ctx, s.PID(), calm); err != nil {
		return nil, fmt.Errorf("wait until it is quiet: %w", err)
	}
	after, err := proc.Read(s.PID())
	if err != nil {
		return nil, err
	}
	return costOf(after.Sub(before), messages), nil
}

func costOf(spent proc.Usage, messages int) *report.Cost {
	return report.NewCost(spent.CPU, spent.Written, float64(messages), bodySize)
}
