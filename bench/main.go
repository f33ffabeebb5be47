package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"syscall"

	"github.com/remora-mq/remora/bench/report"
	"github.com/remora-mq/remora/bench/serve"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
	code := run(ctx, os.Args[1:])
	stop()
	os.Exit(code)
}

// run returns the exit code.
func run(ctx context.Context, args []string) int {
	if len(args) == 3 && args[0] == "serve" {
		return told(serve.Run(ctx, serve.Kind(args[1]), args[2], os.Stdout))
	}
	o, err := parseOptions(args, os.Stderr)
	if errors.Is(err, flag.ErrHelp) {
		return 0
	}
	if err != nil {
		return told(err)
	}
	missed, err := bench(ctx, o)
	if ctx.Err() != nil {
		err = errors.Join(errors.New("interrupted"), err)
	}
	if code := told(err); code != 0 || len(missed) == 0 || !o.strict {
		return code
	}
	return 1
}

func told(err error) int {
	if err == nil {
		return 0
	}
	fmt.Fprintln(os.Stderr, "bench:", err)
	return 2
}

// bench runs the rounds and writes the page; it leaves no process and no file.
func bench(ctx context.Context, o options) (missed []string, err error) {
	dir, filesystem, err := o.makeDir()
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	results := &report.Run{Title: o.title(filesystem), Connections: o.connections}
	if err := measure(ctx, o, dir, results); err != nil {
		return nil, err
	}
	return report.Write(os.Stdout, results, targets(o))
}
