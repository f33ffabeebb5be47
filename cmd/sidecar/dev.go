package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"strings"
	"syscall"
	"time"

	"github.com/spf13/cobra"

	"github.com/remora-mq/remora/internal/telemetry"
	"github.com/remora-mq/remora/sidecar"
)

func newDev() *cobra.Command {
	var s settings
	c := &cobra.Command{
		Use:   "dev [flags] -- CMD [ARG...]",
		Short: "Run a command with a sidecar and its own broker beside it",
		Long: "Starts a sidecar with the embedded broker, runs CMD with REMORA_URL set to it, and ends both\nwhen CMD ends. Ends with CMD's exit code. Messages are kept in ./remora-data unless spool.dir\n" +
			"says otherwise. The log is shown from level warn on, as text, unless it is configured.",
		Example: "  sidecar dev -- npm start\n  sidecar dev -c dev.yaml -- sh -c 'sidecar publish orders hello'",
		Args:    usageArgs(cobra.MinimumNArgs(1)),
		RunE:    s.dev,
	}
	s.register(c)
	return c
}

func (s *settings) dev(c *cobra.Command, args []string) error {
	s.set = append([]string{"broker.type=embedded"}, s.set...)
	cfg, err := s.load()
	if err != nil {
		return err
	}
	shown := telemetry.LogOptions{Level: "warn", Format: telemetry.FormatText}
	if cfg.Origin("log.level") != cfg.Origin("") || cfg.Origin("log.format") != cfg.Origin("") {
		shown = telemetry.LogOptions{Level: cfg.Log.Level, Format: cfg.Log.Format}
	}
	log, err := telemetry.NewLogger(c.ErrOrStderr(), shown)
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
	return beside(c, side, args)
}

// beside runs the command while the sidecar runs, and ends both.
func beside(c *cobra.Command, side *sidecar.Sidecar, args []string) error {
	asked, release := signal.NotifyContext(c.Context(), syscall.SIGTERM, syscall.SIGINT)
	defer release()
	running, stop := context.WithCancel(context.WithoutCancel(c.Context()))
	defer stop()
	ended := make(chan error, 1)
	go func() { ended <- side.Run(running) }()
	select {
	case <-side.Ready():
	case err := <-ended:
		return err
	case <-asked.Done():
		stop()
		return <-ended
	}
	command := make(chan error, 1)
	ctx, end := context.WithCancel(asked)
	defer end()
	go func() { command <- runBeside(ctx, c, side.Addresses().Data[0], args) }()
	select {
	case err := <-command:
		stop()
		return errors.Join(<-ended, err)
	case err := <-ended:
		end()
		return errors.Join(err, <-command)
	}
}

// runBeside runs the command; when ctx is done it gets SIGTERM, and 10 s later
// SIGKILL.
func runBeside(ctx context.Context, c *cobra.Command, data string, args []string) error {
	cmd := exec.CommandContext(ctx, args[0], args[1:]...) //nolint:gosec // running what the user asks for is its purpose
	cmd.Stdin, cmd.Stdout, cmd.Stderr = c.InOrStdin(), c.OutOrStdout(), c.ErrOrStderr()
	if !strings.HasPrefix(data, "unix://") {
		data = "http://" + data
	}
	cmd.Env = append(os.Environ(), "REMORA_URL="+data)
	cmd.Cancel = func() error { return cmd.Process.Signal(syscall.SIGTERM) }
	cmd.WaitDelay = 10 * time.Second
	err := cmd.Run()
	if exit := (*exec.ExitError)(nil); errors.As(err, &exit) && exit.Exited() {
		return coded{exit.ExitCode(), fmt.Errorf("%s ended with %d", args[0], exit.ExitCode())}
	}
	if err != nil {
		return fmt.Errorf("run %s: %w", args[0], err)
	}
	return nil
}
