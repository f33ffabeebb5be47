package main

import (
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/remora-mq/remora/bench/peer"
	"github.com/remora-mq/remora/bench/serve"
	"github.com/remora-mq/remora/internal/kv"
)

// options of a run.
type options struct {
	rounds      int
	connections []int
	size        int // bytes of a body
	warmup      time.Duration
	measure     time.Duration
	dir         string
	others      []peer.Peer
	profile     string // folder for profiles; empty: none
	strict      bool
}

// defaultDir is ignored by git and on the disk of the checkout.
const defaultDir = ".build/bench"

func parseOptions(args []string, usage io.Writer) (o options, err error) {
	f := flag.NewFlagSet("bench", flag.ContinueOnError)
	f.SetOutput(usage)
	f.IntVar(&o.rounds, "rounds", 5, "interleaved `rounds`")
	f.DurationVar(&o.measure, "time", 2*time.Second, "how long each peer is measured at each number of connections, a round")
	f.DurationVar(&o.warmup, "warmup", 300*time.Millisecond, "load before that, not counted")
	f.IntVar(&o.size, "size", 1024, "`bytes` of a body")
	f.StringVar(&o.dir, "dir", defaultDir, "`folder` for the files, on the disk to be measured")
	f.StringVar(&o.profile, "profile", "", "write profiles of processor and heap of the servers at each number of connections to this `folder`")
	f.BoolVar(&o.strict, "strict", false, "exit 1 when a target is missed")
	connections := f.String("connections", "1,16,64,256", "`numbers` of connections")
	peers := f.String("peers", "", "`names` of other systems to measure: "+peerNames)
	if err := f.Parse(args); err != nil {
		return o, err
	}
	if f.NArg() > 0 {
		return o, fmt.Errorf("unknown argument %q", f.Arg(0))
	}
	if o.connections, err = parseConnections(*connections); err != nil {
		return o, err
	}
	if o.others, err = parsePeers(*peers, slices.Max(o.connections)); err != nil {
		return o, err
	}
	return o, o.check()
}

func (o *options) check() error {
	switch {
	case o.rounds < 1:
		return errors.New("-rounds must be at least 1")
	case o.measure <= 0 || o.warmup < 0:
		return errors.New("-time must be greater than 0, and -warmup not negative")
	case o.size < 1 || o.size > 1<<20:
		return errors.New("-size must be within 1 and 1 MiB")
	}
	return nil
}

func parseConnections(list string) ([]int, error) {
	var all []int
	for item := range strings.SplitSeq(list, ",") {
		n, err := strconv.Atoi(strings.TrimSpace(item))
		if err != nil || n < 1 || n > 10_000 {
			return nil, fmt.Errorf("-connections: %q is not a number within 1 and 10,000", item)
		}
		all = append(all, n)
	}
	return all, nil
}

const peerNames = "redis, rabbitmq, postgres, nats; or all"

// parsePeers returns each once, in the order of the page. They will have up to
// so many connections.
func parsePeers(list string, connections int) (all []peer.Peer, err error) {
	known := []struct {
		name string
		peer peer.Peer
	}{
		{"redis", peer.Redis{}}, {"rabbitmq", peer.RabbitMQ{}},
		{"postgres", peer.Postgres{Connections: connections}}, {"nats", peer.NATS{}},
	}
	wanted := map[string]bool{}
	for name := range strings.FieldsFuncSeq(list, func(r rune) bool { return r == ',' || r == ' ' }) {
		wanted[name] = true
	}
	everything := wanted["all"]
	delete(wanted, "all")
	for _, k := range known {
		if everything || wanted[k.name] {
			all = append(all, k.peer)
		}
		delete(wanted, k.name)
	}
	for name := range wanted {
		return nil, fmt.Errorf("-peers: %q is not known; there is %s", name, peerNames)
	}
	return all, nil
}

// peers are in the order in which they take their turns.
func (o *options) peers() []peer.Peer {
	return append([]peer.Peer{
		peer.Append{}, peer.GroupAppend{},
		peer.Server{Kind: serve.NoStore}, peer.Server{Kind: serve.Remora},
	}, o.others...)
}

// makeDir makes a folder for this run, on a disk that a sync reaches. A peer that
// runs as another user passes through it.
func (o *options) makeDir() (dir, filesystem string, err error) {
	if err = os.MkdirAll(o.dir, 0o711); err != nil {
		return "", "", fmt.Errorf("make folder: %w", err)
	}
	if filesystem, _, err = kv.Filesystem(o.dir); err != nil {
		return "", "", fmt.Errorf("tell the file system of %s: %w", o.dir, err)
	}
	if filesystem == "tmpfs" || filesystem == "ramfs" {
		return "", "", fmt.Errorf("%s is %s, where a sync costs nothing: give -dir on a disk", o.dir, filesystem)
	}
	if dir, err = os.MkdirTemp(o.dir, "run-"); err != nil {
		return "", "", err
	}
	if dir, err = filepath.Abs(dir); err != nil {
		return "", "", err
	}
	return dir, filesystem, os.Chmod(dir, 0o711)
}
