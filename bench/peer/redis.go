package peer

import (
	"cmp"
	"context"
	"os/exec"
	"strconv"

	"github.com/remora-mq/remora/bench/load"
	"github.com/remora-mq/remora/bench/proc"
)

// Redis appends to a stream. It comes with Debian's redis-server.
type Redis struct {
	Fsync string // its appendfsync; empty: always
}

// Name says how it is set.
func (p Redis) Name() string { return "redis XADD, fsync " + p.fsync() }

func (p Redis) fsync() string { return cmp.Or(p.Fsync, "always") }

// Start returns when it answers.
func (p Redis) Start(ctx context.Context, dir string) (Running, error) {
	return p.Serve(ctx, dir)
}

// Serve is Start, for who speaks to it in another way.
func (p Redis) Serve(ctx context.Context, dir string) (*RedisServer, error) {
	program, err := find("redis-server", "apt-get install redis-server")
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
	r := &RedisServer{addr: loopback(port)}
	cmd := exec.Command(program, redisSettings(port, dir, p.fsync())...)
	ping := func(ctx context.Context) error { return r.do(ctx, "PING") }
	if r.daemon, err = startDaemon(ctx, cmd, dir, ping); err != nil {
		return nil, err
	}
	r.version = version
	return r, nil
}

// redisSettings are the defaults but for the sync. Rewrites of the log, which
// would fork in the middle of a measurement, are asked for in Forget.
func redisSettings(port int, dir, fsync string) []string {
	return []string{
		"--bind", "127.0.0.1", "--port", strconv.Itoa(port), "--dir", dir, "--save", "",
		"--appendonly", "yes", "--appendfsync", fsync, "--auto-aof-rewrite-percentage", "0",
	}
}

// RedisServer is a running one.
type RedisServer struct {
	*daemon
	addr string
}

// Addr is where it listens.
func (r *RedisServer) Addr() string { return r.addr }

// Dial opens a connection that appends.
func (r *RedisServer) Dial(ctx context.Context) (load.Client, error) { return dialRESP(ctx, r.addr) }

// Forget empties stream and log, so that memory is not spent on a backlog.
func (r *RedisServer) Forget(ctx context.Context) error {
	if err := r.do(ctx, "FLUSHALL"); err != nil {
		return err
	}
	if err := r.do(ctx, "BGREWRITEAOF"); err != nil {
		return err
	}
	return proc.Quiet(ctx, r.PID(), grace)
}

// do sends one command over a connection of its own.
func (r *RedisServer) do(ctx context.Context, command ...string) error {
	c, err := dialRESP(ctx, r.addr)
	if err != nil {
		return err
	}
	defer c.Close()
	return c.do(appendCommand(nil, command...))
}
