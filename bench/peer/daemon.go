package peer

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"time"

	"github.com/remora-mq/remora/bench/proc"
)

// daemon is the server of another system, which speaks its own protocol.
type daemon struct {
	process *proc.Process
	output  string // the file that holds what it says
	version string
}

// startDaemon sends what cmd says to the file output in dir, and returns when
// ready does without an error. Without one it leaves no process.
func startDaemon(ctx context.Context, cmd *exec.Cmd, dir string, ready func(context.Context) error) (*daemon, error) {
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
	d := &daemon{process: p, output: output.Name()}
	if err := d.await(ctx, ready); err != nil {
		said, _ := os.ReadFile(d.output) // what went wrong, if it said so
		return nil, errors.Join(fmt.Errorf("%w: %s", err, said[max(0, len(said)-500):]), p.Stop(grace))
	}
	return d, nil
}

// await returns when the server answers, has ended, or ctx is done.
func (d *daemon) await(ctx context.Context, ready func(context.Context) error) error {
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for {
		err := ready(ctx)
		if err == nil {
			return nil
		}
		select {
		case <-tick.C:
		case <-d.process.Exited():
			return errors.New("it ended at once")
		case <-ctx.Done():
			return errors.Join(ctx.Err(), err)
		}
	}
}

func (d *daemon) PID() int { return d.process.PID() }

// Version is what the program calls itself by.
func (d *daemon) Version() string { return d.version }

// Stop ends it by SIGTERM, at which each of them syncs and exits.
func (d *daemon) Stop() error { return d.process.Stop(grace) }

// find looks where Debian puts a program, then in the PATH. Of several, it takes
// the one with the highest version in its path.
func find(program, install string, places ...string) (string, error) {
	for _, place := range places {
		found, err := filepath.Glob(place)
		if err != nil {
			return "", err
		}
		if len(found) > 0 {
			return slices.MaxFunc(found, func(a, b string) int {
				return cmp.Or(cmp.Compare(len(a), len(b)), cmp.Compare(a, b))
			}), nil
		}
	}
	path, err := exec.LookPath(program)
	if err != nil {
		return "", fmt.Errorf("%w: %s", err, install)
	}
	return path, nil
}

var versionForm = regexp.MustCompile(`\d+(\.\d+)+`)

// versionOf asks a program for it.
func versionOf(ctx context.Context, program string) (string, error) {
	said, err := exec.CommandContext(ctx, program, "--version").Output()
	if err != nil {
		return "", fmt.Errorf("%s --version: %w", program, err)
	}
	return versionForm.FindString(string(said)), nil
}

// freePort may be taken by another process before it is used; the start then fails.
func freePort() (int, error) {
	ports, err := freePorts(1)
	if err != nil {
		return 0, err
	}
	return ports[0], nil
}

// freePorts are all different.
func freePorts(n int) (ports []int, err error) {
	for range n {
		ln, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			return nil, fmt.Errorf("find a free port: %w", err)
		}
		defer ln.Close()
		addr, ok := ln.Addr().(*net.TCPAddr)
		if !ok {
			return nil, fmt.Errorf("find a free port: %v is not one", ln.Addr())
		}
		ports = append(ports, addr.Port)
	}
	return ports, nil
}

// loopback is the address of a port there.
func loopback(port int) string { return net.JoinHostPort("127.0.0.1", strconv.Itoa(port)) }

// closeWhenDone ends what a connection waits for when ctx is done, until the
// returned function is called.
func closeWhenDone(ctx context.Context, c net.Conn) (stop func() bool) {
	return context.AfterFunc(ctx, func() { _ = c.Close() }) // the reader sees it
}
