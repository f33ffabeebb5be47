package peer

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"

	"github.com/remora-mq/remora/bench/load"
	"github.com/remora-mq/remora/bench/proc"
)

// RabbitMQ appends to a quorum queue of one member, with confirms. It comes with
// Debian's rabbitmq-server.
type RabbitMQ struct{}

// Name says how it is set.
func (RabbitMQ) Name() string { return "rabbitmq quorum queue, confirms" }

// Start returns when the queue is there. Erlang's nodes find each other by a
// daemon that they start and leave running: this one has a daemon of its own.
func (RabbitMQ) Start(ctx context.Context, dir string) (_ Running, err error) {
	program, err := find("rabbitmq-server", "apt-get install rabbitmq-server", "/usr/lib/rabbitmq/bin/rabbitmq-server")
	if err != nil {
		return nil, err
	}
	ports, err := freePorts(3)
	if err != nil {
		return nil, err
	}
	finder, err := startFinder(ports[0])
	if err != nil {
		return nil, err
	}
	r := &rabbitmq{addr: loopback(ports[1]), finder: finder}
	cmd := exec.Command(program)
	cmd.Dir, cmd.Env = dir, rabbitSettings(dir, ports)
	if r.daemon, err = startDaemon(ctx, cmd, dir, r.declare); err != nil {
		finder.Kill()
		return nil, err
	}
	if r.version, err = r.banner(); err != nil {
		return nil, errors.Join(err, r.Stop())
	}
	return r, nil
}

// startFinder starts epmd, which a node listens to from its first moment.
func startFinder(port int) (*proc.Process, error) {
	program, err := find("epmd", "apt-get install erlang-base")
	if err != nil {
		return nil, err
	}
	return proc.Start(exec.Command(program, "-port", strconv.Itoa(port), "-address", "127.0.0.1"))
}

// rabbitSettings are the defaults, with all files in dir and all ports on the
// loopback. The script that starts the node replaces itself by it only under
// systemd; else our child would be a shell.
func rabbitSettings(dir string, ports []int) []string {
	in := func(name string) string { return filepath.Join(dir, name) }
	return []string{
		"PATH=" + os.Getenv("PATH"), "LANG=C.UTF-8", "HOME=" + dir, "RUNNING_UNDER_SYSTEMD=1",
		"ERL_EPMD_ADDRESS=127.0.0.1", fmt.Sprintf("ERL_EPMD_PORT=%d", ports[0]),
		"ERL_CRASH_DUMP=" + in("crash"),
		fmt.Sprintf("RABBITMQ_NODENAME=bench%d@localhost", ports[1]),
		"RABBITMQ_NODE_IP_ADDRESS=127.0.0.1", fmt.Sprintf("RABBITMQ_NODE_PORT=%d", ports[1]),
		fmt.Sprintf("RABBITMQ_DIST_PORT=%d", ports[2]),
		"RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS=-kernel inet_dist_use_interface {127,0,0,1}",
		"RABBITMQ_MNESIA_BASE=" + in("data"), "RABBITMQ_LOG_BASE=" + in("log"),
		"RABBITMQ_ENABLED_PLUGINS_FILE=" + in("plugins"), "RABBITMQ_CONF_ENV_FILE=" + in("environment"),
		"RABBITMQ_CONFIG_FILE=" + in("settings"), "RABBITMQ_ADVANCED_CONFIG_FILE=" + in("advanced"),
		"RABBITMQ_GENERATED_CONFIG_DIR=" + in("generated"), "RABBITMQ_PID_FILE=" + in("pid"),
	}
}

type rabbitmq struct {
	*daemon
	addr   string
	finder *proc.Process
}

func (r *rabbitmq) Dial(ctx context.Context) (load.Client, error) { return dialAMQP(ctx, r.addr) }

func (r *rabbitmq) declare(ctx context.Context) error { return r.do(ctx, (*amqpClient).declare) }

// Forget empties the queue.
func (r *rabbitmq) Forget(ctx context.Context) error {
	if err := r.do(ctx, (*amqpClient).purge); err != nil {
		return err
	}
	return proc.Quiet(ctx, r.PID(), grace)
}

// Stop ends the node, then the daemon that it was found by.
func (r *rabbitmq) Stop() error {
	defer r.finder.Kill()
	return r.daemon.Stop()
}

// do does something over a connection of its own.
func (r *rabbitmq) do(ctx context.Context, what func(*amqpClient) error) error {
	c, err := dialAMQP(ctx, r.addr)
	if err != nil {
		return err
	}
	defer c.Close()
	defer closeWhenDone(ctx, c)()
	return what(c)
}

var rabbitBanner = regexp.MustCompile(`RabbitMQ (\d+(?:\.\d+)+)`)

// banner is the version in what the node says first.
func (r *rabbitmq) banner() (string, error) {
	said, err := os.ReadFile(r.output)
	if err != nil {
		return "", err
	}
	found := rabbitBanner.FindSubmatch(said)
	if found == nil {
		return "", errors.New("it does not tell its version")
	}
	return string(found[1]), nil
}
