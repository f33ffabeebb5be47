package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"syscall"
	"time"

	"github.com/remora-mq/remora/bench/serve"
)

// options of a run.
type options struct {
	messages    int
	connections int
	rounds      int
	measure     time.Duration
	settle      time.Duration // between the end of the drain and the last look
	dir         string
}

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
	err := run(ctx, os.Args[1:])
	stop()
	if err != nil && !errors.Is(err, flag.ErrHelp) {
		fmt.Fprintln(os.Stderr, "backlog:", err)
		os.Exit(2)
	}
}

func run(ctx context.Context, args []string) (err error) {
	if len(args) == 3 && args[0] == "serve" {
		return serve.Run(ctx, serve.Kind(args[1]), args[2], os.Stdout)
	}
	o, err := parseOptions(args)
	if err != nil {
		return err
	}
	if err := os.MkdirAll(o.dir, 0o700); err != nil {
		return err
	}
	dir, err := os.MkdirTemp(o.dir, "backlog-")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	r := &outage{options: o, dir: dir}
	defer r.end()
	if err := r.play(ctx); err != nil {
		return err
	}
	return r.write(os.Stdout)
}

func parseOptions(args []string) (o options, err error) {
	f := flag.NewFlagSet("backlog", flag.ContinueOnError)
	f.IntVar(&o.messages, "messages", 5_000_000, "how many wait, of 1 KiB each")
	f.IntVar(&o.connections, "connections", 64, "while accepts are measured")
	f.IntVar(&o.rounds, "rounds", 5, "interleaved `rounds`")
	f.DurationVar(&o.measure, "time", 3*time.Second, "of a measurement")
	f.DurationVar(&o.settle, "settle", time.Minute, "between the end of the drain and the last look")
	f.StringVar(&o.dir, "dir", ".build/bench", "`folder` for the files, on the disk to be measured")
	if err := f.Parse(args); err != nil {
		return o, err
	}
	if f.NArg() > 0 || o.messages < 1 || o.connections < 1 || o.rounds < 1 || o.measure <= 0 {
		return o, errors.New("-messages, -connections, -rounds and -time have to be above 0, and nothing else is taken")
	}
	return o, nil
}

func progressf(format string, args ...any) {
	fmt.Fprintf(os.Stderr, "backlog: "+format+"\n", args...)
}
