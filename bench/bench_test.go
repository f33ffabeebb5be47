package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/remora-mq/remora/bench/peer"
	"github.com/remora-mq/remora/bench/report"
	"github.com/remora-mq/remora/bench/serve"
)

// TestMain is also the servers that the tests start: they run this program.
func TestMain(m *testing.M) {
	if len(os.Args) > 1 && os.Args[1] == "serve" {
		main()
	}
	goleak.VerifyTestMain(m)
}

// short is a whole run in little time.
func short(t *testing.T) options {
	t.Helper()
	o, err := parseOptions(strings.Fields("-rounds 1 -time 100ms -warmup 20ms -connections 1,8"), io.Discard)
	if err != nil {
		t.Fatal(err)
	}
	return o
}

func TestRunMeasuresEverything(t *testing.T) {
	results := measured(t, short(t))
	if len(results.Rounds) != 1 || len(results.Rounds[0]) != 7 {
		t.Fatalf("got %+v, want 7 samples", results.Rounds)
	}
	for key, s := range results.Rounds[0] {
		if s.Rate <= 0 || s.P50 <= 0 || s.P99 < s.P50 {
			t.Errorf("%+v: %+v", key, s)
		}
	}
	stored := results.Rounds[0][report.Key{Peer: "remora", Connections: 8}].Cost
	if stored == nil || stored.Written < 1 || stored.Anonymous < 1 {
		t.Errorf("remora cost %+v: less than what it had to write", stored)
	}
}

// measured measures for longer where a disk took longer for one sync than the time to
// be measured: its rate is 0 then.
func measured(t *testing.T, o options) *report.Run {
	t.Helper()
	for {
		results := &report.Run{Connections: o.connections}
		if err := measure(t.Context(), o, t.TempDir(), results); err != nil {
			t.Fatal(err)
		}
		idle := false
		for _, s := range results.Rounds[0] {
			idle = idle || s.Rate == 0
		}
		if !idle || o.measure > 10*time.Second {
			return results
		}
		o.measure *= 4
	}
}

func TestInterruptLeavesNothing(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	o := short(t)
	o.rounds, o.dir = 1000, t.TempDir()
	timer := time.AfterFunc(time.Second, cancel)
	defer timer.Stop()
	if _, err := bench(ctx, o); !errors.Is(err, context.Canceled) {
		t.Errorf("got %v", err)
	}
	left, err := filepath.Glob(filepath.Join(o.dir, "*"))
	if err != nil || len(left) > 0 {
		t.Errorf("left behind: %v, %v", left, err)
	}
}

func TestServerThatCannotStartSaysWhy(t *testing.T) {
	_, err := peer.Server{Kind: "other"}.Start(t.Context(), t.TempDir())
	if err == nil || !strings.Contains(err.Error(), "ended without a word") {
		t.Errorf("got %v", err)
	}
}

// TestServerHoldsWhatItAnswered proves the account against a real server.
func TestServerHoldsWhatItAnswered(t *testing.T) {
	for _, kind := range []serve.Kind{serve.Remora, serve.NoStore} {
		t.Run(string(kind), func(t *testing.T) {
			running, err := peer.Server{Kind: kind}.Start(t.Context(), t.TempDir())
			if err != nil {
				t.Fatal(err)
			}
			c, err := running.Dial(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			for range 20 {
				if err := c.Send([]byte("body")); err != nil {
					t.Fatal(err)
				}
			}
			if err := errors.Join(c.Close(), running.Stop()); err != nil {
				t.Error(err)
			}
		})
	}
}

func TestTargetsCompareWhatIsMeasured(t *testing.T) {
	o := short(t)
	run := &report.Run{Connections: []int{1, 64}, Rounds: []report.Round{{}}}
	o.connections = run.Connections
	var err error
	if o.others, err = parsePeers("all", 64); err != nil {
		t.Fatal(err)
	}
	for _, p := range o.peers() {
		run.Peers = append(run.Peers, p.Name())
		for _, c := range o.connections {
			run.Rounds[0][report.Key{Peer: p.Name(), Connections: c}] = report.Sample{Rate: 1, P50: 1, P99: 1, Cost: &report.Cost{}}
		}
	}
	var page strings.Builder
	if _, err := report.Write(&page, run, targets(o)); err != nil || strings.Contains(page.String(), string(report.Unmeasured)) {
		t.Errorf("%v\n%s", err, page.String())
	}
	for _, p := range o.others {
		for _, c := range o.connections {
			if want := fmt.Sprintf("msg/s at %d / %s ", c, p.Name()); !strings.Contains(page.String(), want) {
				t.Errorf("no %q", want)
			}
		}
	}
}

// TestAheadOfThoseThatSync shows what is asked beside those that
// Remora is to be ahead of, at one connection as at many.
func TestAheadOfThoseThatSync(t *testing.T) {
	o := short(t)
	o.connections = []int{1, 256}
	for name, least := range map[string][]float64{"redis": {0.7, 1}, "rabbitmq": {1, 1}, "postgres": {1, 1}, "nats": {1, 1}} {
		others, err := parsePeers(name, 256)
		if err != nil || len(others) != 1 {
			t.Fatal(others, err)
		}
		o.others = others
		asked := map[string]report.Target{}
		for _, target := range targets(o) {
			asked[target.Name] = target
		}
		for i, c := range o.connections {
			target := asked[fmt.Sprintf("msg/s at %d / %s", c, others[0].Name())]
			if !target.Least || target.Bound != least[i] {
				t.Errorf("%s at %d: %+v, want at least %v", name, c, target, least[i])
			}
		}
	}
}

type versionedPeer struct{ peer.Running }

func (versionedPeer) Version() string { return "1.2.3" }

func TestPageTellsVersionsOfOthers(t *testing.T) {
	up := []*contestant{{name: "remora"}, {name: "redis XADD", Running: versionedPeer{}}}
	if got := versions(up); got != "\nBeside us: redis 1.2.3." {
		t.Errorf("got %q", got)
	}
	if got := versions(up[:1]); got != "" {
		t.Errorf("got %q", got)
	}
}
