package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"github.com/apache/rocketmq-client-go/v2/primitive"

	"github.com/remora-mq/remora/bench/proc"
	"github.com/remora-mq/remora/bench/report"
	"github.com/remora-mq/remora/test/rocketmq"
)

// The peers of the page.
const (
	batches       = "client-go, batches of 64"
	dressed       = "client-go, the same with our properties"
	singles       = "client-go, SendSync"
	drainsOne     = "remora drains one topic"
	drainsMany    = "remora drains many topics and keys"
	drainsBeside  = "remora drains them beside a stuck topic"
	accepts       = "remora accepts"
	forwards      = "remora accepts and forwards"
	confirmed     = "remora, POST to confirmation"
	waits         = "remora, Prefer: wait"
	bodySize      = 1024
	queues        = 4 // of each topic
	batchOfClient = 64
)

// trial is one run.
type trial struct {
	options

	dir     string
	cluster *rocketmq.Cluster
	client  *client
	run     report.Run
	spools  int   // made so far
	repeats int64 // messages of one topic that the broker has once more
}

func (t *trial) play(ctx context.Context) (err error) {
	t.run.Title = t.title()
	t.run.Connections = columns(1, t.attempts, t.connections)
	t.run.Peers = []string{batches, dressed, singles, drainsOne, drainsMany, drainsBeside, accepts, forwards, confirmed, waits}
	if err := t.startCluster(); err != nil {
		return err
	}
	defer func() { err = errors.Join(err, t.cluster.Close()) }()
	if t.client, err = newClient(t.cluster.NameServerAddrs()); err != nil {
		return err
	}
	defer func() { err = errors.Join(err, t.client.Shutdown()) }()
	if err := t.warmUp(ctx); err != nil {
		return err
	}
	others, err := proc.WatchOthers()
	if err != nil {
		return err
	}
	for n := range t.rounds {
		progressf("round %d of %d", n+1, t.rounds)
		round := report.Round{}
		if err := t.playRound(ctx, round); err != nil {
			return err
		}
		t.run.Rounds = append(t.run.Rounds, round)
	}
	said, err := others.Verdict()
	t.run.Machine = fmt.Sprintf("Drains of one topic made %d repeats.\n%s", t.repeats, said)
	return err
}

// columns are the numbers that differ, in order.
func columns(sorted ...int) (all []int) {
	for _, n := range sorted {
		if len(all) == 0 || all[len(all)-1] < n {
			all = append(all, n)
		}
	}
	return all
}

// startCluster starts a broker that gives up what it has stored, since a run
// would fill the disk, and that refuses nothing because it is busy: how often it
// would says more of the machine than of those who send.
func (t *trial) startCluster() (err error) {
	progressf("starting RocketMQ")
	t.cluster, err = rocketmq.New(rocketmq.Options{
		Dir: filepath.Join(t.dir, "rocketmq"),
		Brokers: []rocketmq.BrokerOptions{{FlushDisk: rocketmq.FlushDisk(t.flush), Extra: map[string]string{
			"fileReservedTime": "0", // h
			"deleteWhen":       "00;01;02;03;04;05;06;07;08;09;10;11;12;13;14;15;16;17;18;19;20;21;22;23",

			"waitTimeMillsInSendQueue":    "5000",
			"osPageCacheBusyTimeOutMills": "5000",
		}}},
	})
	if err != nil {
		return err
	}
	if err := t.createTopics(); err != nil {
		return errors.Join(err, t.cluster.Close())
	}
	return nil
}

func (t *trial) createTopics() error {
	progressf("creating %d topics", t.topics)
	for i := range t.topics {
		if err := t.cluster.Brokers[0].CreateTopic(manyTopic(i), queues); err != nil {
			return err
		}
	}
	return t.cluster.Brokers[0].CreateTopic(oneTopic, queues)
}

// warmUp has the broker compile what it will do.
func (t *trial) warmUp(ctx context.Context) error {
	progressf("warming up the broker")
	// Concurrent first calls fail: some find a route whose broker is not known yet.
	if _, err := t.client.send(ctx, 1, 1, 1, plain); err != nil {
		return fmt.Errorf("warm up: %w", err)
	}
	for _, batch := range []int{1, batchOfClient} {
		if _, err := t.client.send(ctx, t.attempts, batch, min(t.messages, 20_000), t.client.dress); err != nil {
			return fmt.Errorf("warm up: %w", err)
		}
	}
	return nil
}

func (t *trial) playRound(ctx context.Context, round report.Round) error {
	for _, step := range []struct {
		name string
		do   func(context.Context, report.Round) error
	}{
		{batches, t.sendBatches},
		{drainsOne, t.drainOne},
		{dressed, t.sendDressed},
		{singles, t.sendSingles},
		{drainsMany, t.drainMany},
		{drainsBeside, t.drainBeside},
		{forwards, t.forward},
	} {
		progressf("%s", step.name)
		if err := step.do(ctx, round); err != nil {
			return fmt.Errorf("%s: %w", step.name, err)
		}
	}
	return nil
}

func (t *trial) sendBatches(ctx context.Context, round report.Round) error {
	return t.sendAs(ctx, round, batches, batchOfClient, t.messages, plain)
}

func (t *trial) sendDressed(ctx context.Context, round report.Round) error {
	return t.sendAs(ctx, round, dressed, batchOfClient, t.messages, t.client.dress)
}

// sendSingles sends fewer messages: they take several times as long.
func (t *trial) sendSingles(ctx context.Context, round report.Round) error {
	return t.sendAs(ctx, round, singles, 1, max(t.messages/5, 1), plain)
}

func (t *trial) sendAs(ctx context.Context, round report.Round, name string, batch, n int, prepare func(*primitive.Message)) error {
	before, err := proc.Read(os.Getpid())
	if err != nil {
		return err
	}
	rate, err := t.client.send(ctx, t.attempts, batch, n, prepare)
	if err != nil {
		return err
	}
	after, err := proc.Read(os.Getpid())
	round[report.Key{Peer: name, Connections: t.attempts}] = report.Sample{Rate: rate, Cost: costOf(after.Sub(before), n)}
	return err
}
