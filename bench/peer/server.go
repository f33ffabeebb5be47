package peer

import (
	"context"
	"fmt"
	"net/http"

	"github.com/remora-mq/remora/bench/load"
	"github.com/remora-mq/remora/bench/serve"
)

// Server is our own HTTP server in a process of its own: this program, started
// again with "serve".
type Server struct{ Kind serve.Kind }

// Name tells the kind.
func (s Server) Name() string { return s.Kind.String() }

// Start returns when the server listens.
func (s Server) Start(ctx context.Context, dir string) (Running, error) {
	p, err := serve.Start(ctx, s.Kind, dir)
	if err != nil {
		return nil, err
	}
	return &server{process: p}, nil
}

// server is a running child.
type server struct {
	process *serve.Process
	tally   tally
}

func (s *server) Dial(ctx context.Context) (load.Client, error) {
	return dialHTTP(ctx, s.process.Hello.Addr, &s.tally)
}

func (s *server) PID() int { return s.process.PID() }

// ProfileURL is where net/http/pprof answers.
func (s *server) ProfileURL() string { return "http://" + s.process.Hello.Inside + "/debug/pprof" }

// Commits tells what the server has synced so far.
func (s *server) Commits(ctx context.Context) (c serve.Commits, err error) {
	if err := s.process.Ask(ctx, http.MethodGet, "/commits", &c); err != nil {
		return c, fmt.Errorf("read commits: %w", err)
	}
	return c, nil
}

// Forget does nothing: what was confirmed is gone by itself, and is measured.
func (s *server) Forget(context.Context) error { return nil }

// Stop compares what the server has accepted with what the connections saw.
func (s *server) Stop() error {
	var account serve.Account
	if err := s.process.Stop(grace, &account); err != nil {
		return err
	}
	return account.Check(s.tally.sent.Load(), s.tally.taken.Load())
}
