package peer

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"

	"github.com/remora-mq/remora/bench/load"
	"github.com/remora-mq/remora/bench/proc"
)

// NATS appends to a JetStream stream in files, which are synced for each
// message. The server is a Go program: make bench installs it.
type NATS struct{}

// Name says how it is set.
func (NATS) Name() string { return "nats jetstream, sync always" }

// natsSettings are the defaults but for the sync.
const natsSettings = `
listen: "%s"
jetstream { store_dir: "%s", sync_interval: always }
`

// Start returns when the stream is there.
func (NATS) Start(ctx context.Context, dir string) (Running, error) {
	program, err := find("nats-server", "go install github.com/nats-io/nats-server/v2@latest")
	if err != nil {
		return nil, err
	}
	version, err := versionOf(ctx, program)
	if err != nil {
		return nil, err
	}
	port, err := freePort()
	if err != nil {
		return nil, err
	}
	n := &nats{addr: loopback(port)}
	settings := filepath.Join(dir, "nats.conf")
	if err := os.WriteFile(settings, fmt.Appendf(nil, natsSettings, n.addr, dir), 0o600); err != nil {
		return nil, err
	}
	n.daemon, err = startDaemon(ctx, exec.Command(program, "-c", settings), dir, n.createStream)
	if err != nil {
		return nil, err
	}
	n.version = version
	return n, nil
}

type nats struct {
	*daemon
	addr string
}

func (n *nats) Dial(ctx context.Context) (load.Client, error) { return dialNATS(ctx, n.addr) }

func (n *nats) createStream(ctx context.Context) error {
	return n.ask(ctx, "$JS.API.STREAM.CREATE.bench", `{"name":"bench","subjects":["bench"],"storage":"file","num_replicas":1}`)
}

// Forget empties the stream.
func (n *nats) Forget(ctx context.Context) error {
	if err := n.ask(ctx, "$JS.API.STREAM.PURGE.bench", ""); err != nil {
		return err
	}
	return proc.Quiet(ctx, n.PID(), grace)
}

// ask sends one request over a connection of its own.
func (n *nats) ask(ctx context.Context, subject, request string) error {
	c, err := dialNATS(ctx, n.addr)
	if err != nil {
		return err
	}
	defer c.Close()
	defer closeWhenDone(ctx, c)()
	return c.ask(subject, []byte(request))
}
