package sidecarproof

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// patience bounds waits for what must happen.
const patience = 60 * time.Second

// heldDisk bounds how long a test may hold the disk of a sidecar, and so an answer of it:
// while what a cut would leave is examined, which takes tens of seconds for a state on a
// machine that others use, and a publish may meet several.
const heldDisk = 5 * time.Minute

// setup says how a sidecar is run.
type setup struct {
	program       program
	dir           string // spool.dir
	unreachable   bool   // the broker is one that nobody can reach, else embedded
	nameServer    string // of a real broker
	subscriptions []string
	set           []string // more of --set
	env           []string // more of the environment
}

// subscription is a configuration that hands a topic to an application.
func subscription(name, topic, dedupe string, to *application) string {
	return fmt.Sprintf("{name: %s, topic: %s, handler: %q, timeout: 20s, concurrency: 8, dedupe: {store: %s}, retry: {initial: 50ms, max: 1s, max_attempts: 1000}}",
		name, topic, to.url(), dedupe)
}

// subscribe hands every topic to an application.
func subscribe(to *application) (all []string) {
	for _, topic := range topics {
		all = append(all, subscription("group-"+topic, topic, "local", to))
	}
	return all
}

func (s setup) command(t *testing.T) *exec.Cmd {
	t.Helper()
	set := []string{
		"spool.dir=" + s.dir, "spool.lock_wait=20s",
		"spool.sync_timeout=" + heldDisk.String(), // a test that holds the disk wants no answer
		"listen.data=127.0.0.1:0", "listen.admin=127.0.0.1:0", "listen.health=127.0.0.1:0",
		"subscriptions=[" + strings.Join(s.subscriptions, ", ") + "]",
	}
	switch {
	case s.nameServer != "":
		set = append(set, "broker.type=rocketmq", fmt.Sprintf("broker.rocketmq.name_servers=[%q]", s.nameServer))
	case s.unreachable:
		// The long backoff leaves messages where they can be cancelled.
		set = append(set, "broker.type=rocketmq", `broker.rocketmq.name_servers=["127.0.0.1:1"]`, "forwarder.retry.initial=20s")
	default:
		set = append(set, "broker.type=embedded")
	}
	args := []string{"run"}
	for _, one := range append(set, s.set...) {
		args = append(args, "--set", one)
	}
	cmd := exec.Command(s.program.path(t), args...)
	cmd.Env = append(os.Environ(), s.env...)
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL} // a test that panics leaves nothing behind
	return cmd
}

// process is a running sidecar.
type process struct {
	*client
	cmd   *exec.Cmd
	log   *logbook
	ended <-chan struct{}
}

// starter starts a command and returns a channel that is closed when it has
// ended: powerfs.FS.Start, or spawn.
type starter func(*exec.Cmd) <-chan struct{}

// launch starts a sidecar and does not wait for it.
func launch(t *testing.T, s setup, start starter) *process {
	t.Helper()
	log := &logbook{ready: make(chan addresses, 1)}
	cmd := s.command(t)
	cmd.Stdout, cmd.Stderr = log, log
	return &process{cmd: cmd, log: log, ended: start(cmd)}
}

// spawn is a starter for a sidecar on a plain directory, which ends with the
// test at the latest.
func spawn(t *testing.T) starter {
	return func(cmd *exec.Cmd) <-chan struct{} {
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		ended := make(chan struct{})
		go func() {
			defer close(ended)
			_ = cmd.Wait() // its exit code stands in cmd.ProcessState
		}()
		t.Cleanup(func() {
			_ = cmd.Process.Kill() // it may have ended
			<-ended
		})
		return ended
	}
}

// await waits until the sidecar accepts.
func (p *process) await() error {
	select {
	case a := <-p.log.ready:
		p.client = newClient(a)
		return nil
	case <-p.ended:
		return fmt.Errorf("the sidecar ended before it was ready: %s\n%s", p.cmd.ProcessState, p.log.tail())
	case <-time.After(patience):
		return fmt.Errorf("the sidecar is not ready after %s\n%s", patience, p.log.tail())
	}
}

// run starts a sidecar that has to become ready.
func run(t *testing.T, s setup, start starter) *process {
	t.Helper()
	p := launch(t, s, start)
	if err := p.await(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(p.client.close)
	return p
}

// kill is kill -9. It returns when the process is gone.
func (p *process) kill() {
	_ = p.cmd.Process.Kill() // it may have ended
	<-p.ended
	if p.client != nil {
		p.client.close()
	}
}

// stop is SIGTERM. It returns the exit code.
func (p *process) stop(t *testing.T) int {
	t.Helper()
	if err := p.cmd.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	return p.exitCode(t)
}

func (p *process) exitCode(t *testing.T) int {
	t.Helper()
	select {
	case <-p.ended:
	case <-time.After(patience):
		_ = p.cmd.Process.Signal(syscall.SIGQUIT) // says where it hangs
		<-p.ended
		t.Fatalf("the sidecar does not end\n%s", p.log)
	}
	return p.cmd.ProcessState.ExitCode()
}

type addresses struct {
	Data          []string
	Admin, Health string
}

// logbook takes what a sidecar logs.
type logbook struct {
	mu    sync.Mutex
	text  []byte
	line  []byte
	ready chan addresses
}

func (l *logbook) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.text = append(l.text, p...)
	l.line = append(l.line, p...)
	for {
		line, rest, whole := bytes.Cut(l.line, []byte("\n"))
		if !whole {
			return len(p), nil
		}
		l.read(line)
		l.line = rest
	}
}

func (l *logbook) read(line []byte) {
	var entry struct {
		Msg string
		addresses
	}
	if json.Unmarshal(line, &entry) == nil && entry.Msg == "ready" {
		l.ready <- entry.addresses
	}
}

func (l *logbook) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return string(l.text)
}

// tail is the end of the log, or the cause of a crash: goroutines follow it.
func (l *logbook) tail() string {
	text := l.String()
	if at := strings.Index(text, "fatal error: "); at >= 0 {
		return text[max(0, at-3000):min(len(text), at+3000)]
	}
	return text[max(0, len(text)-3000):]
}

// keep saves a state in which something was found, where the environment asks
// for it.
func keep(dir string) string {
	kept := os.Getenv("REMORA_TEST_KEEP")
	if kept == "" {
		return ""
	}
	to := filepath.Join(kept, fmt.Sprintf("state-%d", time.Now().UnixNano()))
	if err := os.CopyFS(to, os.DirFS(dir)); err != nil {
		return err.Error()
	}
	return to
}
