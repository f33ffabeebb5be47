package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"runtime"

	"github.com/remora-mq/remora/bench/program"
)

// options of a run.
type options struct {
	messages int // of a measurement
	rounds   int
	calls    int // at a time
	low      int // messages of each kind, of a round, at low load
	keys     int // in the window of the store that has many
	sidecar  string
	dir      string
	strict   bool
}

func main() { program.Main("gate", run) }

// run returns 1 when it is strict and a target was missed.
func run(ctx context.Context, args []string) (code int, err error) {
	if len(args) == 1 && args[0] == "handler" {
		return 0, handle(ctx, os.Stdout)
	}
	o, err := parseOptions(args)
	if err != nil {
		return 0, err
	}
	if o.sidecar, err = filepath.Abs(o.sidecar); err != nil {
		return 0, err
	}
	err = program.InFolder(o.dir, "gate", func(dir string) error {
		t := &trial{options: o, dir: dir}
		if err := t.play(ctx); err != nil {
			return err
		}
		code, err = program.Report(&t.run, o.targets(), o.strict)
		return err
	})
	return code, err
}

func parseOptions(args []string) (o options, err error) {
	f := flag.NewFlagSet("gate", flag.ContinueOnError)
	f.IntVar(&o.messages, "messages", 40_000, "of 1 KiB, of each measurement")
	f.IntVar(&o.rounds, "rounds", 5, "interleaved `rounds`")
	f.IntVar(&o.calls, "calls", 64, "of the handler at a time")
	f.IntVar(&o.low, "low", 100, "messages of each kind at low load, a round")
	f.IntVar(&o.keys, "keys", 10_000_000, "in the window of the local store that has many; 0: it is left out")
	f.StringVar(&o.sidecar, "sidecar", "bin/sidecar", "`program` of the sidecar")
	f.StringVar(&o.dir, "dir", ".build/bench", "`folder` for the files, on the disk to be measured")
	f.BoolVar(&o.strict, "strict", false, "exit 1 when a target is missed")
	if err := f.Parse(args); err != nil {
		return o, err
	}
	if f.NArg() > 0 || min(o.rounds, o.calls, o.low) < 1 || o.messages < 10 || o.keys < 0 {
		return o, errors.New("-rounds, -calls and -low have to be above 0, -messages at least 10, -keys not negative, and nothing else is taken")
	}
	return o, nil
}

// title says what the figures are of.
func (o *options) title() string {
	return fmt.Sprintf("%d messages of 1 KiB, delivered from the embedded broker, %d calls at a time. %s, %d CPUs.\n"+
		"At 1: one message at a time; from the gate's taking it to its ack, and a bare call.",
		o.messages, o.calls, runtime.Version(), runtime.NumCPU())
}

func progressf(format string, args ...any) {
	fmt.Fprintf(os.Stderr, "gate: "+format+"\n", args...)
}
