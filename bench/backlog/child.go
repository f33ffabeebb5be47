package main

import (
	"context"
	"net/http"
	"os"
	"time"

	"github.com/remora-mq/remora/bench/load"
	"github.com/remora-mq/remora/bench/peer"
	"github.com/remora-mq/remora/bench/proc"
	"github.com/remora-mq/remora/bench/serve"
	"github.com/remora-mq/remora/spool"
)

const bodySize = 1024

// child is a server in a process of its own, over a spool in dir.
type child struct {
	*serve.Process

	dir string
}

func startChild(ctx context.Context, dir string) (*child, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, err
	}
	p, err := serve.Start(ctx, serve.Held, dir)
	if err != nil {
		return nil, err
	}
	return &child{p, dir}, nil
}

// stop is a clean stop; what waits stays.
func (c *child) stop() error { return c.Stop(time.Minute, nil) }

func (c *child) load(ctx context.Context, connections int, d time.Duration) (load.Result, error) {
	dial := func(ctx context.Context) (load.Client, error) { return peer.DialServer(ctx, c.Hello.Addr) }
	return load.Run(ctx, dial, load.Options{Connections: connections, Size: bodySize, Measure: d})
}

func (c *child) anonymous() (float64, error) {
	n, err := proc.Anonymous(c.PID())
	return float64(n) / (1 << 20), err
}

// open lets the broker take messages; shut has it refuse them again.
func (c *child) open(ctx context.Context) error { return c.Ask(ctx, http.MethodPost, "/open", nil) }
func (c *child) shut(ctx context.Context) error { return c.Ask(ctx, http.MethodPost, "/close", nil) }

// known is what the spool remembers of what is settled.
func (c *child) known(ctx context.Context) (k spool.Known, err error) {
	return k, c.Ask(ctx, http.MethodGet, "/known", &k)
}

func (c *child) totals(ctx context.Context) (t spool.Counts, err error) {
	return t, c.Ask(ctx, http.MethodGet, "/totals", &t)
}
