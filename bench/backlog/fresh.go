package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"time"

	"github.com/remora-mq/remora/bench/proc"
)

// fresh is what a sidecar costs that has nothing to do.
type fresh struct {
	resident float64 // MiB
	cpu      float64 // percent of a core
}

// readFresh starts the sidecar as it ships, with all its listeners, a
// subscription, and the broker that is in it, and looks at it for a while.
func readFresh(ctx context.Context, program, dir string, look time.Duration) (f fresh, err error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return f, err
	}
	ports, err := freePorts(3)
	if err != nil {
		return f, err
	}
	cmd := exec.Command(program, "run", "--set", "broker.type=embedded", "--set", "spool.dir="+filepath.Join(dir, "data"),
		"--set", "listen.data="+ports[0], "--set", "listen.admin="+ports[1], "--set", "listen.health="+ports[2],
		"--set", "subscriptions=[{name: bench, topic: bench, handler: 'http://127.0.0.1:9/'}]")
	cmd.Env = []string{"PATH=" + os.Getenv("PATH"), "HOME=" + dir}
	log, err := os.Create(filepath.Join(dir, "log"))
	if err != nil {
		return f, err
	}
	defer log.Close()
	cmd.Stdout, cmd.Stderr = log, log
	p, err := proc.Start(cmd)
	if err != nil {
		return f, err
	}
	defer func() { err = errors.Join(err, p.Stop(time.Minute)) }()
	if err := awaitReady(ctx, p, "http://"+ports[2]+"/readyz"); err != nil {
		said, _ := os.ReadFile(log.Name()) // what went wrong, if it said so
		return f, fmt.Errorf("%w: %s", err, said[max(0, len(said)-500):])
	}
	before, err := proc.Read(p.PID())
	if err != nil {
		return f, err
	}
	if err := wait(ctx, look); err != nil {
		return f, err
	}
	after, err := proc.Read(p.PID())
	if err != nil {
		return f, err
	}
	resident, err := proc.Resident(p.PID())
	f.cpu = 100 * after.Sub(before).CPU.Seconds() / look.Seconds()
	f.resident = float64(resident) / mebibyte
	return f, err
}

func awaitReady(ctx context.Context, p *proc.Process, url string) error {
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	for {
		err := get(ctx, url)
		if err == nil {
			return nil
		}
		select {
		case <-p.Exited():
			return errors.New("the sidecar ended at once")
		case <-ctx.Done():
			return fmt.Errorf("the sidecar is not ready: %w", err)
		case <-time.After(50 * time.Millisecond):
		}
	}
}

func get(ctx context.Context, url string) error {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return err
	}
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		return err
	}
	res.Body.Close()
	if res.StatusCode != http.StatusOK {
		return errors.New(res.Status)
	}
	return nil
}

// freePorts are addresses on the loopback.
func freePorts(n int) (addrs []string, err error) {
	for range n {
		ln, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			return nil, fmt.Errorf("find a free port: %w", err)
		}
		defer ln.Close()
		addrs = append(addrs, ln.Addr().String())
	}
	return addrs, nil
}

func wait(ctx context.Context, d time.Duration) error {
	select {
	case <-time.After(d):
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}
