package main

import (
	"context"
	"errors"
	"time"

	"github.com/remora-mq/remora/bench/built"
	"github.com/remora-mq/remora/bench/proc"
)

// fresh is what a sidecar costs that has nothing to do.
type fresh struct {
	resident float64 // MiB
	cpu      float64 // percent of a core
}

// readFresh starts the sidecar as it ships, with all its listeners, a
// subscription, and the broker that is in it, and looks at it for a while.
func readFresh(ctx context.Context, program, dir string, look time.Duration) (f fresh, err error) {
	s, err := built.Start(ctx, program, dir, "broker.type=embedded",
		"subscriptions=[{name: bench, topic: bench, handler: 'http://127.0.0.1:9/'}]")
	if err != nil {
		return f, err
	}
	defer func() { err = errors.Join(err, s.End()) }()
	before, err := proc.Read(s.PID())
	if err != nil {
		return f, err
	}
	if err := wait(ctx, look); err != nil {
		return f, err
	}
	after, err := proc.Read(s.PID())
	if err != nil {
		return f, err
	}
	resident, err := proc.Resident(s.PID())
	f.cpu = 100 * after.Sub(before).CPU.Seconds() / look.Seconds()
	f.resident = float64(resident) / mebibyte
	return f, err
}

func wait(ctx context.Context, d time.Duration) error {
	select {
	case <-time.After(d):
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}
