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
	"github.com/remora-mq/remora/test/rocketmq"
)

// options of a run.
type options struct {
	messages    int // of a drain
	rounds      int
	connections int // of those who post
	attempts    int // at a time, to one topic
	topics      int
	keys        int
	low         int // messages of each kind, of a round, at low load
	flush       string
	sidecar     string
	dir         string
	strict      bool
}

func main() { program.Main("forward", run) }

// run returns 1 when it is strict and a target was missed.
func run(ctx context.Context, args []string) (code int, err error) {
	o, err := parseOptions(args)
	if err != nil {
		return 0, err
	}
	if o.sidecar, err = filepath.Abs(o.sidecar); err != nil {
		return 0, err
	}
	err = program.InFolder(o.dir, "forward", func(dir string) error {
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
	f := flag.NewFlagSet("forward", flag.ContinueOnError)
	f.IntVar(&o.messages, "messages", 1_000_000, "of 1 KiB, of each drain")
	f.IntVar(&o.rounds, "rounds", 5, "interleaved `rounds`")
	f.IntVar(&o.connections, "connections", 64, "while the spool is filled")
	f.IntVar(&o.attempts, "attempts", 32, "at a time to one topic, of both sides; the sidecar makes twice as many to all topics")
	f.IntVar(&o.topics, "topics", 0, "when there are many; 0: one for 1,000 messages")
	f.IntVar(&o.keys, "keys", 0, "ordering keys, when there are many; 0: one for 10 messages")
	f.IntVar(&o.low, "low", 100, "messages of each kind at low load, a round")
	f.StringVar(&o.flush, "flush", string(rocketmq.SyncFlush), "`flushDiskType` of the broker")
	f.StringVar(&o.sidecar, "sidecar", "bin/sidecar", "`program` of the sidecar")
	f.StringVar(&o.dir, "dir", ".build/bench", "`folder` for the files, on the disk to be measured")
	f.BoolVar(&o.strict, "strict", false, "exit 1 when a target is missed")
	if err := f.Parse(args); err != nil {
		return o, err
	}
	o.scale()
	if f.NArg() > 0 || min(o.messages, o.rounds, o.connections, o.attempts, o.topics, o.keys, o.low) < 1 {
		return o, errors.New("-messages, -rounds, -connections, -attempts, -topics, -keys and -low have to be above 0, and nothing else is taken")
	}
	if o.flush != string(rocketmq.SyncFlush) && o.flush != string(rocketmq.AsyncFlush) {
		return o, fmt.Errorf("-flush: %q is neither %s nor %s", o.flush, rocketmq.SyncFlush, rocketmq.AsyncFlush)
	}
	return o, nil
}

// scale has a short run send as many messages to a topic, and of an ordering key,
// as the run of 1,000,000 messages, 1,000 topics and 100,000 keys: with fewer of
// them the batches would be smaller.
func (o *options) scale() {
	if o.topics == 0 {
		o.topics = max(o.messages/1000, 1)
	}
	if o.keys == 0 {
		o.keys = max(o.messages/10, 1)
	}
}

// title says what the figures are of.
func (o *options) title() string {
	return fmt.Sprintf("%d messages of 1 KiB a drain, to RocketMQ %s with %s; %d attempts at a time, %d while there are many topics.\n"+
		"Many are %d topics and %d ordering keys. %s, %d CPUs.",
		o.messages, rocketmq.Version, o.flush, o.attempts, 2*o.attempts, o.topics, o.keys, runtime.Version(), runtime.NumCPU())
}

func progressf(format string, args ...any) {
	fmt.Fprintf(os.Stderr, "forward: "+format+"\n", args...)
}
