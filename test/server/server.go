package server

import (
	"context"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/remora-mq/remora/bench/proc"
	"github.com/remora-mq/remora/test/ports"
)

// patience is for what must happen, on a machine under load.
const patience = 60 * time.Second

// Server is one that can be killed and started again on the same data.
type Server struct {
	t       testing.TB
	name    string
	port    string
	dir     string
	command func() *exec.Cmd
	ready   func(ctx context.Context) error
	process *proc.Process
	log     string
}

// Addr is its host:port.
func (s *Server) Addr() string { return net.JoinHostPort("127.0.0.1", s.port) }

// Port of Addr.
func (s *Server) Port() string { return s.port }

// newServer takes a folder and a port; the caller says how it is started.
func newServer(t testing.TB, name string) *Server {
	t.Helper()
	dir, err := os.MkdirTemp("", "remora-"+name+"-") //nolint:usetesting // t.TempDir is closed to the user that a server may run as
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := os.RemoveAll(dir); err != nil {
			t.Error(err)
		}
	})
	_, port, err := net.SplitHostPort(ports.Free(t))
	if err != nil {
		t.Fatal(err)
	}
	return &Server{t: t, name: name, port: port, dir: dir, log: filepath.Join(dir, "output")}
}

// Start starts it, and returns when it answers.
func (s *Server) Start() {
	s.t.Helper()
	output, err := os.OpenFile(s.log, os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o600)
	if err != nil {
		s.t.Fatal(err)
	}
	defer output.Close()
	cmd := s.command()
	cmd.Stdout, cmd.Stderr, cmd.Dir = output, output, s.dir
	if s.process, err = proc.Start(cmd); err != nil {
		s.t.Fatal(err)
	}
	s.await()
}

func (s *Server) await() {
	s.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for {
		err := s.ready(ctx)
		if err == nil {
			return
		}
		select {
		case <-tick.C:
		case <-s.process.Exited():
			s.t.Fatalf("%s ended at once: %s", s.name, s.said())
		case <-ctx.Done():
			s.t.Fatalf("%s does not answer: %v: %s", s.name, err, s.said())
		}
	}
}

// said is the end of what the server has logged.
func (s *Server) said() string {
	text, _ := os.ReadFile(s.log)
	return string(text[max(0, len(text)-2000):])
}

// Kill is kill -9 of all its processes. It returns when they are gone.
func (s *Server) Kill() {
	if s.process == nil {
		return
	}
	select {
	case <-s.process.Exited():
	default:
		if s.process.Pause() == nil { // else it has just ended
			killChildren(s.process.PID())
		}
		s.process.Kill()
	}
}

// Stall stops the server without closing its connections, until Continue.
func (s *Server) Stall() {
	s.t.Helper()
	if err := s.process.Pause(); err != nil {
		s.t.Fatal(err)
	}
}

// Continue ends a Stall.
func (s *Server) Continue() {
	s.t.Helper()
	if err := s.process.Resume(); err != nil {
		s.t.Fatal(err)
	}
}

// run starts it, and has it killed at the end of the test.
func (s *Server) run() *Server {
	s.t.Helper()
	s.t.Cleanup(s.Kill)
	s.Start()
	return s
}

// find looks in the PATH, then where Debian puts servers; of several versions it
// takes the last.
func find(t testing.TB, program, install string, places ...string) string {
	t.Helper()
	if path, err := exec.LookPath(program); err == nil {
		return path
	}
	for _, place := range places {
		if found, _ := filepath.Glob(place); len(found) > 0 {
			return slices.Max(found)
		}
	}
	t.Fatalf("%s is not here: make deps, or apt-get install %s", program, install)
	return ""
}

// says reports whether what listens there begins with one of the words, when it
// is asked.
func says(ctx context.Context, addr, ask string, words ...string) error {
	c, err := (&net.Dialer{}).DialContext(ctx, "tcp", addr)
	if err != nil {
		return err
	}
	defer c.Close()
	if err := c.SetDeadline(time.Now().Add(5 * time.Second)); err != nil {
		return err
	}
	if _, err := c.Write([]byte(ask)); err != nil {
		return err
	}
	answer := make([]byte, 256)
	n, err := c.Read(answer)
	for _, word := range words {
		if n >= len(word) && string(answer[:len(word)]) == word {
			return nil
		}
	}
	return fmt.Errorf("it says %q: %w", answer[:n], err)
}
