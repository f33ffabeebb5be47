package main

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strconv"
	"sync/atomic"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/remora-mq/remora/bench/built"
	"github.com/remora-mq/remora/bench/load"
	"github.com/remora-mq/remora/bench/peer"
	"github.com/remora-mq/remora/bench/proc"
	"github.com/remora-mq/remora/bench/report"
)

const (
	topic        = "bench"
	subscription = "bench"
	group        = "bench"

	handledCount = `remora_deliver_handled_seconds_count{subscription="` + subscription + `"}`
	handledTime  = `remora_deliver_handled_seconds_sum{subscription="` + subscription + `"}`
	confirmed    = "remora_forward_confirm_seconds_count"

	// calm bounds how long a sidecar may go on working after the last message.
	calm = 15 * time.Second
	// apart is between two messages at low load.
	apart = 5 * time.Millisecond
	// posters put the messages in.
	posters = 64
)

// deliver measures a sidecar in dir: all messages at once, then one at a time.
func (t *trial) deliver(ctx context.Context, round report.Round, name, dir, store string, settings ...string) (err error) {
	s, err := built.Start(ctx, t.sidecar, dir, append(settings,
		"broker.type=embedded", "dedupe.limit=4GiB", "spool.limit=32GiB", // of which the window holds all keys
		fmt.Sprintf("subscriptions=[{name: %s, topic: %s, group: %s, handler: '%s/call', concurrency: %d, dedupe: {store: %s}}]",
			subscription, topic, group, t.handler.url, t.calls, store))...)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, s.End()) }()
	if err := t.putIn(ctx, s); err != nil {
		return fmt.Errorf("put the messages in: %w", err)
	}
	sample, err := t.deliverAll(ctx, s)
	if err != nil {
		return err
	}
	round[report.Key{Peer: name, Connections: t.calls}] = sample
	return t.lowLoad(ctx, s, round, name)
}

// putIn returns when all messages are at the broker and the sidecar is quiet. The
// subscription is paused then.
func (t *trial) putIn(ctx context.Context, s *built.Sidecar) error {
	if err := decide(ctx, s, "pause"); err != nil {
		return err
	}
	before, err := s.Metrics(ctx, confirmed)
	if err != nil {
		return err
	}
	if err := post(ctx, s.Data[0], t.messages); err != nil {
		return err
	}
	if err := awaitMore(ctx, s, confirmed, before[0], t.messages); err != nil {
		return err
	}
	return proc.Quiet(ctx, s.PID(), calm)
}

func decide(ctx context.Context, s *built.Sidecar, what string) error {
	_, err := built.Ask(ctx, http.MethodPost, "http://"+s.Admin+"/v1/subscriptions/"+subscription+"/"+what)
	return err
}

// post posts n messages, each by itself.
func post(ctx context.Context, addr string, n int) error {
	var posted atomic.Int64
	group, ctx := errgroup.WithContext(ctx)
	for i := range posters {
		group.Go(func() error {
			p, err := peer.DialServer(ctx, addr)
			if err != nil {
				return err
			}
			defer p.Close()
			defer context.AfterFunc(ctx, func() { _ = p.Close() })() // ends what waits for an answer
			bodies := load.NewBodies(bodySize, i)
			for posted.Add(1) <= int64(n) {
				if err := p.Send(bodies.Next()); err != nil {
					return err
				}
			}
			return nil
		})
	}
	return group.Wait()
}

// deliverAll resumes the subscription, and returns when all is acked.
func (t *trial) deliverAll(ctx context.Context, s *built.Sidecar) (sample report.Sample, err error) {
	handled, err := s.Metrics(ctx, handledCount)
	if err != nil {
		return sample, err
	}
	before, err := proc.Read(s.PID())
	if err != nil {
		return sample, err
	}
	watching, stop := context.WithCancel(ctx)
	defer stop()
	var most int64
	watched := make(chan error, 1)
	go func() {
		n, err := proc.MostAnonymous(watching, s.PID())
		most = n
		watched <- err
	}()
	rate, err := t.handler.measure(ctx, t.messages, func(ctx context.Context) error { return decide(ctx, s, "resume") })
	if err == nil {
		err = awaitMore(ctx, s, handledCount, handled[0], t.messages)
	}
	stop()
	if err := errors.Join(err, <-watched); err != nil {
		return sample, err
	}
	if err := proc.Quiet(ctx, s.PID(), calm); err != nil {
		return sample, err
	}
	after, err := proc.Read(s.PID())
	if err != nil {
		return sample, err
	}
	cost := costOf(after.Sub(before), t.messages)
	cost.Anonymous = float64(most) / (1 << 20)
	return report.Sample{Rate: rate, Cost: cost}, nil
}

// awaitMore returns when a series is n above what it was. More is an error.
func awaitMore(ctx context.Context, s *built.Sidecar, series string, was float64, n int) error {
	for {
		now, err := s.Metrics(ctx, series)
		if err != nil {
			return err
		}
		switch more := int(now[0] - was); {
		case more == n:
			return nil
		case more > n:
			return fmt.Errorf("%s counts %d for %d messages", series, more, n)
		}
		select {
		case <-time.After(10 * time.Millisecond):
		case <-s.Exited():
			return errors.New("the sidecar ended")
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
}

// lowLoad takes turns, message by message.
func (t *trial) lowLoad(ctx context.Context, s *built.Sidecar, round report.Round, name string) (err error) {
	p, err := peer.DialServer(ctx, s.Data[0])
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, p.Close()) }()
	defer context.AfterFunc(ctx, func() { _ = p.Close() })()
	bodies := load.NewBodies(bodySize, 0)
	var calls, gate []time.Duration
	for range t.low {
		took, err := t.caller.timed(bodies)
		if err != nil {
			return err
		}
		calls = append(calls, took)
		time.Sleep(apart)
		if took, err = toAck(ctx, s, p, bodies); err != nil {
			return fmt.Errorf("low load: %w", err)
		}
		gate = append(gate, took)
		time.Sleep(apart)
	}
	round[report.Key{Peer: name, Connections: 1}] = ofLatency(gate)
	if name == plain {
		round[report.Key{Peer: bare, Connections: 1}] = ofLatency(calls)
	}
	return nil
}

func ofLatency(took []time.Duration) report.Sample {
	slices.Sort(took)
	return report.Sample{P50: took[len(took)/2], P99: took[len(took)*99/100]}
}

// toAck posts a message and returns how long the gate had it, when that is known.
func toAck(ctx context.Context, s *built.Sidecar, p *peer.Publisher, bodies *load.Bodies) (time.Duration, error) {
	before, err := s.Metrics(ctx, handledCount, handledTime)
	if err != nil {
		return 0, err
	}
	if err := p.Send(bodies.Next()); err != nil {
		return 0, err
	}
	for {
		time.Sleep(apart)
		now, err := s.Metrics(ctx, handledCount, handledTime)
		if err != nil {
			return 0, err
		}
		switch more := now[0] - before[0]; {
		case more == 1:
			return time.Duration((now[1] - before[1]) * float64(time.Second)), nil
		case more > 1:
			return 0, errors.New(strconv.Itoa(int(more)) + " messages are acked, of one")
		}
	}
}
