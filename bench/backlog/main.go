package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"time"

	"github.com/remora-mq/remora/bench/program"
	"github.com/remora-mq/remora/bench/serve"
)

// options of a run.
type options struct {
	messages    int
	connections int
	rounds      int
	measure     time.Duration
	step        time.Duration // of a load that fills
	settle      time.Duration // between the end of the drain and the last look
	idle        time.Duration // how long a fresh sidecar is looked at
	sidecar     string        // the program; empty: it is not looked at
	dir         string
	strict      bool
}

func main() { program.Main("backlog", run) }

// run returns 1 when it is strict and a target was missed.
func run(ctx context.Context, args []string) (code int, err error) {
	if len(args) == 3 && args[0] == "serve" {
		return 0, serve.Run(ctx, serve.Kind(args[1]), args[2], os.Stdout)
	}
	o, err := parseOptions(args)
	if err != nil {
		return 0, err
	}
	err = program.InFolder(o.dir, "backlog", func(dir string) error {
		r := &outage{options: o, dir: dir}
		defer r.end()
		if err := r.play(ctx); err != nil {
			return err
		}
		r.run.Title, r.run.Machine = r.title(), aboutDisk
		code, err = program.Report(&r.run, r.targets(), o.strict)
		return err
	})
	return code, err
}

func parseOptions(args []string) (o options, err error) {
	f := flag.NewFlagSet("backlog", flag.ContinueOnError)
	f.IntVar(&o.messages, "messages", 5_000_000, "how many wait, of 1 KiB each")
	f.IntVar(&o.connections, "connections", 64, "while accepts are measured")
	f.IntVar(&o.rounds, "rounds", 5, "interleaved `rounds`")
	f.DurationVar(&o.measure, "time", 3*time.Second, "of a measurement")
	f.DurationVar(&o.step, "step", 5*time.Second, "how long the spool is filled at a time")
	f.DurationVar(&o.settle, "settle", time.Minute, "between the end of the drain and the last look")
	f.DurationVar(&o.idle, "idle", 20*time.Second, "how long a fresh sidecar is looked at")
	f.StringVar(&o.sidecar, "sidecar", "", "`program` of the sidecar to look at when it is fresh; empty: none")
	f.BoolVar(&o.strict, "strict", false, "exit 1 when a target is missed")
	f.StringVar(&o.dir, "dir", ".build/bench", "`folder` for the files, on the disk to be measured")
	if err := f.Parse(args); err != nil {
		return o, err
	}
	if f.NArg() > 0 || o.messages < 1 || o.connections < 1 || o.rounds < 1 || o.measure <= 0 || o.idle <= 0 || o.step <= 0 {
		return o, errors.New("-messages, -connections, -rounds, -time, -idle and -step have to be above 0, and nothing else is taken")
	}
	return o, nil
}

func progressf(format string, args ...any) {
	fmt.Fprintf(os.Stderr, "backlog: "+format+"\n", args...)
}
