package peer

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"time"

	"github.com/remora-mq/remora/bench/load"
	"github.com/remora-mq/remora/bench/proc"
)

// Redis appends to a stream, with appendfsync always. It comes with Debian's
// redis-server and is found in the PATH.
type Redis struct{}

// Name says how it is set.
func (Redis) Name() string { return "redis XADD, fsync always" }

// Start returns when it answers.
func (Redis) Start(ctx context.Context, dir string) (Running, error) {
	program, err := exec.LookPath("redis-server")
	if err != nil {
		return nil, fmt.Errorf("%w: apt-get install redis-server", err)
	}
	port, err := freePort()
	if err != nil {
		return nil, err
	}
	cmd := exec.Command(program, redisSettings(port, dir)...)
	output, err := os.Create(filepath.Join(dir, "output"))
	if err != nil {
		return nil, err
	}
	defer output.Close()
	cmd.Stdout, cmd.Stderr = output, output
	p, err := proc.Start(cmd)
	if err != nil {
		return nil, err
	}
	r := &redis{process: p, addr: net.JoinHostPort("127.0.0.1", strconv.Itoa(port))}
	if err := r.await(ctx); err != nil {
		said, _ := os.ReadFile(output.Name()) // what went wrong, if it said so
		return nil, errors.Join(fmt.Errorf("%w: %.500s", err, said), p.Stop(grace))
	}
	return r, nil
}

// redisSettings are the defaults but for the sync. Rewrites of the log, which
// would fork in the middle of a measurement, are asked for in Forget.
func redisSettings(port int, dir string) []string {
	return []string{
		"--bind", "127.0.0.1", "--port", strconv.Itoa(port), "--dir", dir, "--save", "",
		"--appendonly", "yes", "--appendfsync", "always", "--auto-aof-rewrite-percentage", "0",
	}
}

// freePort may be taken by another process before it is used; the start then fails.
func freePort() (int, error) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return 0, fmt.Errorf("find a free port: %w", err)
	}
	defer ln.Close()
	addr, ok := ln.Addr().(*net.TCPAddr)
	if !ok {
		return 0, fmt.Errorf("find a free port: %v is not one", ln.Addr())
	}
	return addr.Port, nil
}

type redis struct {
	process *proc.Process
	addr    string
}

// await returns when the server answers, has ended, or ctx is done.
func (r *redis) await(ctx context.Context) error {
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for {
		err := r.do(ctx, "PING")
		if err == nil {
			return nil
		}
		select {
		case <-tick.C:
		case <-r.process.Exited():
			return errors.New("it ended at once")
		case <-ctx.Done():
			return errors.Join(ctx.Err(), err)
		}
	}
}

func (r *redis) Dial(ctx context.Context) (load.Client, error) { return dialRESP(ctx, r.addr) }
func (r *redis) PID() int                                      { return r.process.PID() }

// Forget empties stream and log, so that memory is not spent on a backlog.
func (r *redis) Forget(ctx context.Context) error {
	if err := r.do(ctx, "FLUSHALL"); err != nil {
		return err
	}
	if err := r.do(ctx, "BGREWRITEAOF"); err != nil {
		return err
	}
	return proc.Quiet(ctx, r.PID(), grace)
}

// Stop ends it. SIGTERM makes it sync and exit.
func (r *redis) Stop() error { return r.process.Stop(grace) }

// do sends one command over a connection of its own.
func (r *redis) do(ctx context.Context, command ...string) error {
	c, err := dialRESP(ctx, r.addr)
	if err != nil {
		return err
	}
	defer c.Close()
	return c.do(appendCommand(nil, command...))
}
