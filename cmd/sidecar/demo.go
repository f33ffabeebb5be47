package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"syscall"
	"time"

	"github.com/spf13/cobra"
)

// demo shows the whole way of a message through a kill -9, and counts. What it
// prints is measured: by the application that posts, by the handler that
// receives, and by the sidecar's ledger, which have to agree.
type demo struct {
	messages int
	rate     int // posts a second
	failing  int // percent of handler calls
	seed     uint64
	keep     bool
	plain    bool
	limit    time.Duration
}

// Names of what the demo makes.
const (
	demoTopic        = "demo"
	demoSubscription = "demo-handler"
	demoConcurrency  = 8 // handler calls at a time
)

func newDemo() *cobra.Command {
	d := &demo{}
	c := &cobra.Command{
		Use:   "demo",
		Short: "Show the way of a message, through a kill -9, with nothing installed",
		Long: "Starts a sidecar with the embedded broker in a temporary folder, posts messages to it,\nreceives them with a handler that fails now and then, kills the sidecar with kill -9 in the\n" +
			"middle, starts it again, and compares what was accepted with what was handled and with the\nledger. Ends with 0 only if everything balances.",
		Example: "  sidecar demo\n  sidecar demo --messages 5000 --rate 1000 --failing 30",
		Args:    usageArgs(cobra.NoArgs),
		RunE:    func(c *cobra.Command, _ []string) error { return d.run(c) },
	}
	f := c.Flags()
	f.IntVar(&d.messages, "messages", 1200, "messages to post, repeats not counted")
	f.IntVar(&d.rate, "rate", 100, "posts a second")
	f.IntVar(&d.failing, "failing", 15, "percent of handler calls that answer 500")
	f.Uint64Var(&d.seed, "seed", 1, "which calls fail, and which posts are repeated")
	f.BoolVar(&d.keep, "keep", false, "keep the folder")
	f.BoolVar(&d.plain, "plain", false, "print lines instead of redrawing the screen")
	f.DurationVar(&d.limit, "limit", 2*time.Minute, "give up after so long")
	return c
}

func (d *demo) run(c *cobra.Command) error {
	if d.messages < 10 || d.rate < 1 || d.failing < 0 || d.failing > 90 {
		return fail(exitUsage, "at least 10 messages, 1 a second, and 0 to 90 percent failing")
	}
	ctx, stop := signal.NotifyContext(c.Context(), syscall.SIGINT, syscall.SIGTERM)
	defer stop()
	ctx, cancel := context.WithTimeoutCause(ctx, d.limit, fmt.Errorf("not done within %s", d.limit))
	defer cancel()
	dir, err := os.MkdirTemp("", "remora-demo-")
	if err != nil {
		return fmt.Errorf("make a folder for the demo: %w", err)
	}
	shown := newScreen(c.OutOrStdout(), d.plain)
	err = d.play(ctx, dir, shown)
	shown.end()
	if err != nil {
		return fmt.Errorf("the demo failed: %w\nits folder is kept: %s (sidecar.log tells what the sidecar did)", cause(ctx, err), dir)
	}
	if d.keep {
		fmt.Fprintln(c.ErrOrStderr(), "kept:", dir)
		return nil
	}
	return os.RemoveAll(dir)
}

func cause(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return errors.Join(err, context.Cause(ctx))
	}
	return err
}

// play is the story. Each line of it waits for the one before by a signal.
func (d *demo) play(ctx context.Context, dir string, shown *screen) error {
	handler, err := newDemoHandler(d.seed, d.failing)
	if err != nil {
		return err
	}
	defer handler.close()
	side := newChild(dir, handler.url())
	defer side.kill()
	if err := side.start(ctx); err != nil {
		return err
	}
	app, err := newDemoApp(d, side.addresses.Data[0])
	if err != nil {
		return err
	}
	view := shown.follow(ctx, app, handler, side)
	defer view.stop()
	view.sayf("sidecar started as process %d, its spool is %s", side.pid(), filepath.Join(dir, "data"))

	posting := make(chan error, 1)
	go func() { posting <- app.post(ctx) }()
	if err := d.killInTheMiddle(ctx, app, handler, side, view); err != nil {
		return err
	}
	if err := first(ctx, posting); err != nil {
		return err
	}
	view.sayf("all %d messages are accepted; waiting for the handler to have them", app.accepted())
	if err := handler.has(ctx, app.ids()); err != nil {
		return err
	}
	return d.judge(ctx, app, handler, side, view)
}

// killInTheMiddle waits until half is accepted, kills, and starts again.
func (d *demo) killInTheMiddle(ctx context.Context, app *demoApp, handler *demoHandler, side *child, view *view) error {
	select {
	case <-app.half:
	case <-ctx.Done():
		return ctx.Err()
	}
	killed := side.pid()
	side.kill()
	view.sayf("kill -9 of process %d: %d accepted, %d handled", killed, app.accepted(), handler.handled())
	began := time.Now()
	if err := side.start(ctx); err != nil {
		return err
	}
	view.sayf("process %d opened the same spool and was ready after %s", side.pid(), time.Since(began).Round(time.Millisecond))
	return nil
}

func first(ctx context.Context, done <-chan error) error {
	select {
	case err := <-done:
		return err
	case <-ctx.Done():
		return ctx.Err()
	}
}
