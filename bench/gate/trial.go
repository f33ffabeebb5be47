package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"

	"github.com/remora-mq/remora/bench/peer"
	"github.com/remora-mq/remora/bench/proc"
	"github.com/remora-mq/remora/bench/report"
)

// The peers of the page.
const (
	bare        = "bare fasthttp loop"
	plain       = "remora, no dedupe"
	inLocal     = "remora, local dedupe"
	redisAlways = "remora, redis always"
	redisSecond = "remora, redis everysec"

	bodySize = 1024
	// bareCalls for each message: the loop is so much faster, and what else the
	// machine does has to be met by both for as long.
	bareCalls = 4
)

// manyKnown is the peer whose window holds many keys.
func (o *options) manyKnown() string { return fmt.Sprintf("remora, local, %d keys known", o.keys) }

// trial is one run.
type trial struct {
	options

	dir     string
	handler *handler
	caller  *caller
	redis   map[string]string // by appendfsync: the file with the URL
	run     report.Run
	folders int // made so far
}

// many is the folder of the sidecar whose window holds many keys.
func (t *trial) many() string { return filepath.Join(t.dir, "many") }

func (t *trial) play(ctx context.Context) (err error) {
	t.run.Title = t.title()
	t.run.Connections = []int{1, t.calls}
	t.run.Peers = []string{bare, plain, inLocal, t.manyKnown(), redisAlways, redisSecond}
	if t.handler, err = startHandler(); err != nil {
		return err
	}
	defer func() { err = errors.Join(err, t.handler.end()) }()
	if t.caller, err = newCaller(t.handler.url, t.calls); err != nil {
		return err
	}
	defer t.caller.close()
	t.redis = map[string]string{}
	for _, fsync := range []string{"always", "everysec"} {
		stop, err := t.startRedis(ctx, fsync)
		if err != nil {
			return err
		}
		defer func() { err = errors.Join(err, stop()) }()
	}
	if t.keys > 0 {
		if err := t.fillMany(ctx); err != nil {
			return fmt.Errorf("fill the window: %w", err)
		}
	}
	return t.playRounds(ctx)
}

func (t *trial) startRedis(ctx context.Context, fsync string) (stop func() error, err error) {
	dir := filepath.Join(t.dir, "redis-"+fsync)
	if err := os.Mkdir(dir, 0o700); err != nil {
		return nil, err
	}
	s, err := peer.Redis{Fsync: fsync}.Serve(ctx, dir)
	if err != nil {
		return nil, err
	}
	file := filepath.Join(t.dir, "url-"+fsync)
	t.redis[fsync] = file
	if err := os.WriteFile(file, []byte("redis://"+s.Addr()+"/0\n"), 0o600); err != nil {
		return nil, errors.Join(err, s.Stop())
	}
	return s.Stop, nil
}

func (t *trial) playRounds(ctx context.Context) error {
	others, err := proc.WatchOthers()
	if err != nil {
		return err
	}
	for n := range t.rounds {
		progressf("round %d of %d", n+1, t.rounds)
		round := report.Round{}
		for _, s := range t.steps() {
			progressf("%s", s.name)
			if err := s.do(ctx, round); err != nil {
				return fmt.Errorf("%s: %w", s.name, err)
			}
		}
		t.run.Rounds = append(t.run.Rounds, round)
	}
	t.run.Machine, err = others.Verdict()
	return err
}

// step is one measurement of a round.
type step struct {
	name string
	do   func(context.Context, report.Round) error
}

func (t *trial) steps() []step {
	all := []step{
		{bare, t.callBare},
		t.deliverAs(plain, "off"),
		t.deliverAs(inLocal, "local"),
	}
	if t.keys > 0 {
		all = append(all, step{t.manyKnown(), func(ctx context.Context, round report.Round) error {
			return t.deliver(ctx, round, t.manyKnown(), t.many(), "local")
		}})
	}
	return append(all,
		t.deliverAs(redisAlways, "redis", "dedupe.redis.url_file="+t.redis["always"]),
		t.deliverAs(redisSecond, "redis", "dedupe.redis.url_file="+t.redis["everysec"]),
	)
}

// deliverAs is a measurement in a folder of its own.
func (t *trial) deliverAs(name, store string, settings ...string) step {
	return step{name, func(ctx context.Context, round report.Round) (err error) {
		t.folders++
		dir := filepath.Join(t.dir, "sidecar-"+strconv.Itoa(t.folders))
		defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
		return t.deliver(ctx, round, name, dir, store, settings...)
	}}
}

func (t *trial) callBare(ctx context.Context, round report.Round) error {
	before, err := proc.Read(os.Getpid())
	if err != nil {
		return err
	}
	n := bareCalls * t.messages
	rate, err := t.handler.measure(ctx, n, func(ctx context.Context) error { return t.caller.callAll(ctx, t.calls, n) })
	if err != nil {
		return err
	}
	after, err := proc.Read(os.Getpid())
	round[report.Key{Peer: bare, Connections: t.calls}] = report.Sample{Rate: rate, Cost: costOf(after.Sub(before), n)}
	return err
}

func costOf(spent proc.Usage, messages int) *report.Cost {
	return report.NewCost(spent.CPU, spent.Written, float64(messages), bodySize)
}
