package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"syscall"
	"time"

	"github.com/remora-mq/remora/bench/load"
	"github.com/remora-mq/remora/bench/peer"
	"github.com/remora-mq/remora/bench/proc"
	"github.com/remora-mq/remora/bench/serve"
	"github.com/remora-mq/remora/spool"
)

const bodySize = 1024

// child is a server in a process of its own, over a spool in dir.
type child struct {
	dir     string
	process *proc.Process
	hello   serve.Hello
	out     io.Closer     // its standard output
	opened  time.Duration // from its start to the first connection it takes
}

func startChild(ctx context.Context, dir string) (*child, error) {
	program, err := os.Executable()
	if err != nil {
		return nil, err
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, err
	}
	out, stdout, err := os.Pipe()
	if err != nil {
		return nil, err
	}
	cmd := exec.Command(program, "serve", string(serve.Held), dir)
	cmd.Stdout, cmd.Stderr = stdout, os.Stderr
	began := time.Now()
	p, err := proc.Start(cmd)
	stdout.Close()
	if err != nil {
		out.Close()
		return nil, err
	}
	c := &child{dir: dir, process: p, out: out}
	defer context.AfterFunc(ctx, c.kill)()
	line, err := bufio.NewReader(out).ReadBytes('\n')
	c.opened = time.Since(began)
	if err == nil {
		err = json.Unmarshal(line, &c.hello)
	}
	if err != nil {
		c.kill()
		return nil, fmt.Errorf("the server ended without a word: %w", errors.Join(err, ctx.Err()))
	}
	return c, nil
}

// kill is kill -9.
func (c *child) kill() {
	_ = syscall.Kill(c.process.PID(), syscall.SIGKILL) // it may have ended
	<-c.process.Exited()
	c.out.Close()
}

// stop is a clean stop; what waits stays.
func (c *child) stop() error {
	defer c.out.Close()
	return c.process.Stop(time.Minute)
}

func (c *child) load(ctx context.Context, connections int, d time.Duration) (load.Result, error) {
	dial := func(ctx context.Context) (load.Client, error) { return peer.DialServer(ctx, c.hello.Addr, bodySize) }
	return load.Run(ctx, dial, load.Options{Connections: connections, Size: bodySize, Measure: d})
}

func (c *child) anonymous() (float64, error) {
	n, err := proc.Anonymous(c.process.PID())
	return float64(n) / (1 << 20), err
}

// open lets the broker take messages; shut has it refuse them again.
func (c *child) open(ctx context.Context) error { return c.inside(ctx, http.MethodPost, "/open", nil) }
func (c *child) shut(ctx context.Context) error { return c.inside(ctx, http.MethodPost, "/close", nil) }

// known is what the spool remembers of what is settled.
func (c *child) known(ctx context.Context) (k spool.Known, err error) {
	return k, c.inside(ctx, http.MethodGet, "/known", &k)
}

func (c *child) totals(ctx context.Context) (t spool.Counts, err error) {
	return t, c.inside(ctx, http.MethodGet, "/totals", &t)
}

func (c *child) inside(ctx context.Context, method, path string, into any) error {
	req, err := http.NewRequestWithContext(ctx, method, "http://"+c.hello.Inside+path, nil)
	if err != nil {
		return err
	}
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		return err
	}
	defer res.Body.Close()
	if res.StatusCode != http.StatusOK {
		text, _ := io.ReadAll(io.LimitReader(res.Body, 200))
		return fmt.Errorf("%s %s: %s %s", method, path, res.Status, text)
	}
	if into == nil {
		return nil
	}
	return json.NewDecoder(res.Body).Decode(into)
}
