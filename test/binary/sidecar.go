package binary

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/remora-mq/remora/bench/proc"
	"github.com/remora-mq/remora/test/crash/powerfs"
)

const (
	readyTimeout = 60 * time.Second
	stopTimeout  = 60 * time.Second
)

// build returns the program under test: built from this tree once a process, or
// the one that REMORA_E2E_BINARY names.
var build = sync.OnceValues(func() (string, error) {
	if named := os.Getenv("REMORA_E2E_BINARY"); named != "" {
		return named, nil
	}
	return powerfs.Build("./cmd/sidecar")
})

// Sidecar is the binary as a child process, which can be killed and started
// again on the same folder. Its ports change with each start.
type Sidecar struct {
	name, program, config, log string

	mu      sync.Mutex
	known   Addresses
	process *proc.Process // nil before the first start
}

// Addresses are host:port of the listeners.
type Addresses struct {
	Data          []string
	Admin, Health string
}

// New writes the configuration and starts nothing. config is YAML that says all
// but the listeners and the spool's folder. The sidecar ends with t.
func New(t *testing.T, name, config string) *Sidecar {
	t.Helper()
	program, err := build()
	if err != nil {
		t.Fatal(err)
	}
	return NewOf(t, program, name, config)
}

// NewOf is New for another program, one that is broken on purpose.
func NewOf(t *testing.T, program, name, config string) *Sidecar {
	t.Helper()
	dir := t.TempDir()
	s := &Sidecar{
		name: name, program: program, config: filepath.Join(dir, "remora.yaml"), log: filepath.Join(dir, "sidecar.log"),
		known: Addresses{Data: []string{"127.0.0.1:1"}}, // refuses connections
	}
	text := fmt.Sprintf(`
listen: {data: "127.0.0.1:0", admin: "127.0.0.1:0", health: "127.0.0.1:0"}
spool: {dir: %q}
%s`, filepath.Join(dir, "data"), config)
	if err := os.WriteFile(s.config, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if t.Failed() {
			t.Logf("end of the log of the %s:\n%s\nall of it, with the stacks of all goroutines: %s", s.name, s.tail(), s.autopsy())
		}
		if err := s.Kill(); err != nil {
			t.Error(err)
		}
	})
	return s
}

// Addresses are those of the last start; before it, one that refuses connections.
func (s *Sidecar) Addresses() Addresses {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.known
}

// Name tells it from others.
func (s *Sidecar) Name() string { return s.name }

// Start returns when the sidecar says that it is ready.
func (s *Sidecar) Start() error {
	log, err := os.OpenFile(s.log, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	ready := make(chan Addresses, 1)
	cmd := exec.Command(s.program, "run", "--config", s.config)
	cmd.Env = s.environment()
	cmd.Stderr = &logWriter{file: log, ready: ready}
	p, err := proc.Start(cmd)
	if err != nil {
		return errors.Join(fmt.Errorf("start %s: %w", s.name, err), log.Close())
	}
	go func() {
		<-p.Exited()
		_ = log.Close() // all of it was written
	}()
	s.mu.Lock()
	s.process = p
	s.mu.Unlock()
	select {
	case a := <-ready:
		s.mu.Lock()
		s.known = a
		s.mu.Unlock()
		return nil
	case <-p.Exited():
		return fmt.Errorf("%s ended before it was ready: %w", s.name, p.Err())
	case <-time.After(readyTimeout):
		return errors.Join(fmt.Errorf("%s is not ready after %v", s.name, readyTimeout), s.Kill())
	}
}

// Kill is kill -9. It returns when the process is gone.
func (s *Sidecar) Kill() error { return s.endBy(syscall.SIGKILL) }

// current is the process that was started last, nil before the first start.
func (s *Sidecar) current() *proc.Process {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.process
}

// endBy sends a signal that ends the process, and waits until it is gone.
func (s *Sidecar) endBy(signal syscall.Signal) error {
	p := s.current()
	if p == nil {
		return nil
	}
	if err := p.Signal(signal); err != nil {
		return err
	}
	<-p.Exited()
	return nil
}

// Stop is SIGTERM. The sidecar must end by itself, with 0.
func (s *Sidecar) Stop() error {
	if err := s.current().Stop(stopTimeout); err != nil {
		return fmt.Errorf("stop %s: %w", s.name, err)
	}
	return nil
}

// Config is the path of the configuration.
func (s *Sidecar) Config() string { return s.config }

// Command is a subcommand of the program, which finds the sidecar that runs.
func (s *Sidecar) Command(ctx context.Context, args ...string) *exec.Cmd {
	cmd := exec.CommandContext(ctx, s.program, args...)
	cmd.Env = append(s.environment(), "REMORA_ADMIN_URL=http://"+s.Addresses().Admin)
	return cmd
}

func (s *Sidecar) environment() []string {
	return []string{"HOME=" + filepath.Dir(s.config), "PATH=" + os.Getenv("PATH")}
}

// Get reads a page of the listener at addr.
func (s *Sidecar) Get(ctx context.Context, addr, path string) ([]byte, error) {
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+addr+path, nil)
	if err != nil {
		return nil, err
	}
	r.Close = true // no connection is left behind
	response, err := http.DefaultClient.Do(r)
	if err != nil {
		return nil, err
	}
	defer response.Body.Close()
	body, err := io.ReadAll(response.Body)
	if err == nil && response.StatusCode != http.StatusOK {
		err = fmt.Errorf("GET %s of %s: %d %s", path, s.name, response.StatusCode, body)
	}
	return body, err
}

// autopsy ends the sidecar so that it tells where each goroutine was, and keeps
// its log in a folder that outlives the test.
func (s *Sidecar) autopsy() string {
	if s.current() == nil {
		return "it was not started"
	}
	err := s.endBy(syscall.SIGQUIT)
	dir, makeErr := os.MkdirTemp("", "remora-e2e-")
	kept := filepath.Join(dir, strings.ReplaceAll(s.name, " ", "-")+".log")
	content, readErr := os.ReadFile(s.log)
	writeErr := os.WriteFile(kept, content, 0o600)
	return fmt.Sprintf("%s (%v)", kept, errors.Join(err, makeErr, readErr, writeErr))
}

// Says returns nil when the log has a text.
func (s *Sidecar) Says(text string) error {
	content, err := os.ReadFile(s.log)
	if err == nil && !strings.Contains(string(content), text) {
		err = fmt.Errorf("the log of the %s does not say %q", s.name, text)
	}
	return err
}

func (s *Sidecar) tail() string {
	content, err := os.ReadFile(s.log)
	if err != nil {
		return err.Error()
	}
	lines := strings.Split(strings.TrimSpace(string(content)), "\n")
	return strings.Join(lines[max(0, len(lines)-25):], "\n")
}
