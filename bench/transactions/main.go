package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"runtime"
	"time"

	"github.com/remora-mq/remora/bench/program"
	"github.com/remora-mq/remora/bench/serve"
)

// options of a run.
type options struct {
	open    int // half messages
	rounds  int
	warmup  time.Duration
	measure time.Duration
	dir     string
	strict  bool
}

// connections are the numbers of them that are measured.
var connections = []int{16, 64}

func main() { program.Main("transactions", run) }

// run returns 1 when it is strict and a target was missed.
func run(ctx context.Context, args []string) (code int, err error) {
	if len(args) == 3 && args[0] == "serve" {
		return 0, serve.Run(ctx, serve.Kind(args[1]), args[2], os.Stdout)
	}
	o, err := parseOptions(args)
	if err != nil {
		return 0, err
	}
	err = program.InFolder(o.dir, "transactions", func(dir string) error {
		t := &trial{options: o, dir: dir}
		if err := t.play(ctx); err != nil {
			return err
		}
		code, err = program.Report(&t.run, t.targets(), o.strict)
		return err
	})
	return code, err
}

func parseOptions(args []string) (o options, err error) {
	f := flag.NewFlagSet("transactions", flag.ContinueOnError)
	f.IntVar(&o.open, "open", 100_000, "half messages, each a transaction")
	f.IntVar(&o.rounds, "rounds", 5, "interleaved `rounds`")
	f.DurationVar(&o.warmup, "warmup", time.Second, "before each measurement")
	f.DurationVar(&o.measure, "time", 3*time.Second, "of a measurement")
	f.StringVar(&o.dir, "dir", ".build/bench", "`folder` for the files, on the disk to be measured")
	f.BoolVar(&o.strict, "strict", false, "exit 1 when a target is missed")
	if err := f.Parse(args); err != nil {
		return o, err
	}
	if f.NArg() > 0 || o.open < 1 || o.rounds < 1 || o.measure <= 0 || o.warmup < 0 {
		return o, errors.New("-open, -rounds and -time have to be above 0, -warmup not negative, and nothing else is taken")
	}
	return o, nil
}

// title says what the figures are of.
func (o *options) title() string {
	return fmt.Sprintf("messages of 1 KiB; a transaction has one. %s, %d CPUs.", runtime.Version(), runtime.NumCPU())
}

func progressf(format string, args ...any) {
	fmt.Fprintf(os.Stderr, "transactions: "+format+"\n", args...)
}
