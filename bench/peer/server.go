package peer

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

	"github.com/remora-mq/remora/bench/load"
	"github.com/remora-mq/remora/bench/proc"
	"github.com/remora-mq/remora/bench/serve"
)

// Server is our own HTTP server in a process of its own: this program, started
// again with "serve".
type Server struct {
	Kind serve.Kind
	Size int // bytes of the bodies that will be sent
}

// Name tells the kind.
func (s Server) Name() string { return s.Kind.String() }

// Start returns when the server listens.
func (s Server) Start(ctx context.Context, dir string) (Running, error) {
	program, err := os.Executable()
	if err != nil {
		return nil, fmt.Errorf("find our own program: %w", err)
	}
	out, stdout, err := os.Pipe()
	if err != nil {
		return nil, err
	}
	cmd := exec.Command(program, "serve", string(s.Kind), dir)
	cmd.Stdout, cmd.Stderr = stdout, os.Stderr
	p, err := proc.Start(cmd)
	stdout.Close()
	if err != nil {
		out.Close()
		return nil, err
	}
	r := &server{process: p, size: s.Size, said: bufio.NewReader(out), out: out}
	if err := r.awaitHello(ctx); err != nil {
		return nil, errors.Join(err, p.Stop(grace), out.Close())
	}
	return r, nil
}

// server is a running child.
type server struct {
	process *proc.Process
	size    int
	tally   tally
	hello   serve.Hello
	said    *bufio.Reader // its standard output, a JSON document a line
	out     io.Closer
}

// awaitHello reads the first line; a ctx that is done ends the child.
func (s *server) awaitHello(ctx context.Context) error {
	defer context.AfterFunc(ctx, func() { _ = s.process.Stop(grace) })() // the read below tells
	return errors.Join(s.hear(&s.hello), ctx.Err())
}

func (s *server) hear(into any) error {
	line, err := s.said.ReadBytes('\n')
	if err != nil {
		return fmt.Errorf("it ended without a word: %w", err)
	}
	return json.Unmarshal(line, into)
}

func (s *server) Dial(ctx context.Context) (load.Client, error) {
	return dialHTTP(ctx, s.hello.Addr, s.size, &s.tally)
}

func (s *server) PID() int { return s.process.PID() }

// ProfileURL is where net/http/pprof answers.
func (s *server) ProfileURL() string { return "http://" + s.hello.Inside + "/debug/pprof" }

// Commits tells what the server has synced so far.
func (s *server) Commits(ctx context.Context) (c serve.Commits, err error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+s.hello.Inside+"/commits", nil)
	if err != nil {
		return c, err
	}
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		return c, fmt.Errorf("read commits: %w", err)
	}
	defer res.Body.Close()
	if err := json.NewDecoder(res.Body).Decode(&c); err != nil {
		return c, fmt.Errorf("read commits: %w", err)
	}
	return c, nil
}

// Forget does nothing: what was confirmed is gone by itself, and is measured.
func (s *server) Forget(context.Context) error { return nil }

// Stop compares what the server has accepted with what the connections saw.
func (s *server) Stop() error {
	defer s.out.Close()
	if err := s.process.Stop(grace); err != nil {
		return err
	}
	var account serve.Account
	if err := s.hear(&account); err != nil { // it waits in the pipe
		return fmt.Errorf("read the account: %w", err)
	}
	return account.Check(s.tally.sent.Load(), s.tally.taken.Load())
}
