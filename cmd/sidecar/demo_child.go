package main

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"time"
)

// child is the sidecar as a process of its own, which can be killed and
// started again on the same folder and the same ports.
type child struct {
	dir, handler string
	addresses    addresses // of the last start
	cmd          *exec.Cmd
	ended        chan struct{}
}

type addresses struct {
	Data   []string `json:"data"`
	Admin  string   `json:"admin"`
	Health string   `json:"health"`
}

func newChild(dir, handler string) *child {
	loopback := "127.0.0.1:0"
	return &child{dir: dir, handler: handler, addresses: addresses{[]string{loopback}, loopback, loopback}}
}

func (c *child) args() []string {
	set := []string{
		"broker.type=embedded", "spool.dir=" + filepath.Join(c.dir, "data"),
		"listen.data=" + c.addresses.Data[0], "listen.admin=" + c.addresses.Admin, "listen.health=" + c.addresses.Health,
		fmt.Sprintf("subscriptions=[{name: %s, topic: %s, handler: %q, concurrency: %d, timeout: 5s, retry: {initial: 50ms, max: 1s, max_attempts: 100}}]",
			demoSubscription, demoTopic, c.handler, demoConcurrency),
	}
	args := []string{"run"}
	for _, s := range set {
		args = append(args, "--set", s)
	}
	return args
}

// start runs the process and returns when it says that it is ready.
func (c *child) start(ctx context.Context) error {
	program, err := os.Executable()
	if err != nil {
		return fmt.Errorf("find this program: %w", err)
	}
	c.cmd = exec.Command(program, c.args()...) //nolint:gosec // this very program
	c.cmd.Args[0] = os.Args[0]                 // the name by which it was called
	c.cmd.Env = environmentOfChild()
	logged, err := c.cmd.StderrPipe()
	if err != nil {
		return err
	}
	if err := c.cmd.Start(); err != nil {
		return fmt.Errorf("start the sidecar: %w", err)
	}
	ready := make(chan addresses, 1)
	ended := make(chan struct{})
	c.ended = ended
	go func(cmd *exec.Cmd) {
		defer close(ended)
		c.keepLog(logged, ready)
		_ = cmd.Wait() // killed, or ended for a reason that is in its log
	}(c.cmd)
	select {
	case c.addresses = <-ready:
		return nil
	case <-ended:
		return fmt.Errorf("the sidecar ended before it was ready: %s", c.cmd.ProcessState)
	case <-ctx.Done():
		return ctx.Err()
	}
}

// environmentOfChild leaves out overrides that were meant for another sidecar.
func environmentOfChild() []string {
	var env []string
	for _, name := range []string{"PATH", "HOME", "TMPDIR", "GOCOVERDIR"} {
		if value, ok := os.LookupEnv(name); ok {
			env = append(env, name+"="+value)
		}
	}
	return env
}

// keepLog copies the log into the folder and looks for the line "ready".
func (c *child) keepLog(logged io.Reader, ready chan<- addresses) {
	file, err := os.OpenFile(filepath.Join(c.dir, "sidecar.log"), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return
	}
	defer func() { _ = file.Close() }() // a log of a demo
	lines := bufio.NewScanner(logged)
	lines.Buffer(nil, 1<<20)
	for lines.Scan() {
		_, _ = fmt.Fprintf(file, "%s\n", lines.Bytes())
		var line struct {
			Msg string `json:"msg"`
			addresses
		}
		if json.Unmarshal(lines.Bytes(), &line) == nil && line.Msg == "ready" {
			ready <- line.addresses
		}
	}
	_, _ = io.Copy(file, logged)
}

func (c *child) pid() int { return c.cmd.Process.Pid }

// kill is kill -9. It returns when the process is gone.
func (c *child) kill() {
	if c.cmd == nil || c.cmd.Process == nil {
		return
	}
	_ = c.cmd.Process.Kill() // it may have ended
	<-c.ended
}

// end is SIGTERM; it returns how the process ended.
func (c *child) end(ctx context.Context) error {
	if err := c.cmd.Process.Signal(syscall.SIGTERM); err != nil {
		return fmt.Errorf("end the sidecar: %w", err)
	}
	ctx, cancel := context.WithTimeout(ctx, 30*time.Second)
	defer cancel()
	select {
	case <-c.ended:
	case <-ctx.Done():
		return fmt.Errorf("the sidecar does not end: %w", ctx.Err())
	}
	if code := c.cmd.ProcessState.ExitCode(); code != 0 {
		return fmt.Errorf("the sidecar ended with %d after SIGTERM", code)
	}
	return nil
}
