package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/remora-mq/remora/bench/peer"
	"github.com/remora-mq/remora/bench/proc"
	"github.com/remora-mq/remora/bench/report"
)

// contestant is a peer that is up.
type contestant struct {
	peer.Running

	name string
	solo bool // it is measured with one connection only
}

func (c *contestant) takes(connections int) bool { return connections == 1 || !c.solo }

// measure starts the peers, has them take turns, and stops them.
func measure(ctx context.Context, o options, dir string, results *report.Run) (err error) {
	var up []*contestant
	defer func() { err = errors.Join(err, stopAll(up)) }()
	for i, p := range o.peers() {
		c, err := start(ctx, p, filepath.Join(dir, strconv.Itoa(i)))
		if err != nil {
			return err
		}
		up = append(up, c)
		results.Peers = append(results.Peers, c.name)
	}
	results.Title += versions(up)
	meanwhile, err := proc.WatchOthers()
	if err != nil {
		return err
	}
	for n := range o.rounds {
		progressf("round %d of %d", n+1, o.rounds)
		round, err := playRound(ctx, o, up)
		if err != nil {
			return err
		}
		results.Rounds = append(results.Rounds, round)
	}
	if results.Machine, err = meanwhile.Verdict(); err != nil {
		return err
	}
	return profileAll(ctx, o, up)
}

func start(ctx context.Context, p peer.Peer, dir string) (*contestant, error) {
	progressf("starting %s", p.Name())
	if err := os.Mkdir(dir, 0o700); err != nil {
		return nil, fmt.Errorf("make folder: %w", err)
	}
	running, err := p.Start(ctx, dir)
	if err != nil {
		return nil, fmt.Errorf("start %s: %w", p.Name(), err)
	}
	_, solo := p.(peer.Append)
	return &contestant{Running: running, name: p.Name(), solo: solo}, nil
}

// versioned is a peer that is somebody else's program.
type versioned interface{ Version() string }

// versions is a line for the page; empty when there are none.
func versions(up []*contestant) string {
	var all []string
	for _, c := range up {
		if v, ok := c.Running.(versioned); ok {
			program, _, _ := strings.Cut(c.name, " ")
			all = append(all, program+" "+v.Version())
		}
	}
	if len(all) == 0 {
		return ""
	}
	return "\nBeside us: " + strings.Join(all, ", ") + "."
}

func stopAll(up []*contestant) (err error) {
	for _, c := range up {
		progressf("stopping %s", c.name)
		if e := c.Stop(); e != nil {
			err = errors.Join(err, fmt.Errorf("stop %s: %w", c.name, e))
		}
	}
	return err
}

func playRound(ctx context.Context, o options, up []*contestant) (report.Round, error) {
	round := report.Round{}
	for _, connections := range o.connections {
		for _, c := range up {
			if !c.takes(connections) {
				continue
			}
			sample, err := c.turn(ctx, o, connections)
			if err != nil {
				return nil, fmt.Errorf("measure %s at %d connections: %w", c.name, connections, err)
			}
			round[report.Key{Peer: c.name, Connections: connections}] = sample
		}
	}
	return round, nil
}
