package main

import (
	"context"
	"os/signal"
	"sync"
	"syscall"

	"github.com/spf13/cobra"

	"github.com/remora-mq/remora/internal/heap"
	"github.com/remora-mq/remora/internal/telemetry"
	"github.com/remora-mq/remora/sidecar"
)

func newRun() *cobra.Command {
	var s settings
	c := &cobra.Command{
		Use:     "run",
		Short:   "Run the sidecar until SIGTERM",
		Long:    "Runs the sidecar. At SIGTERM it stops fetching and accepting, forwards what it holds for\nup to drain.timeout, and ends; what is left waits in the spool. A second signal ends it\nat once, which is safe.",
		Example: "  sidecar run -c remora.yaml\n  sidecar run --set broker.type=embedded --set spool.dir=/tmp/try",
		Args:    usageArgs(cobra.NoArgs),
		RunE:    func(c *cobra.Command, _ []string) error { return s.run(c) },
	}
	s.register(c)
	return c
}

func (s *settings) run(c *cobra.Command) error {
	cfg, err := s.load()
	if err != nil {
		return err
	}
	log, err := telemetry.NewLogger(c.ErrOrStderr(), telemetry.LogOptions{Level: cfg.Log.Level, Format: cfg.Log.Format})
	if err != nil {
		return err
	}
	for _, w := range cfg.Warnings {
		log.Warn(w)
	}
	side, err := sidecar.New(cfg.Config, version, log)
	if err != nil {
		return err
	}
	heap.Bound()
	var memory sync.WaitGroup
	defer memory.Wait()
	ctx, stop := signal.NotifyContext(c.Context(), syscall.SIGTERM, syscall.SIGINT)
	defer stop()
	context.AfterFunc(ctx, stop) // the second signal is not caught
	memory.Go(func() { heap.GiveBack(ctx) })
	return side.Run(ctx)
}
