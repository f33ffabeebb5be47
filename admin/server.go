package admin

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"time"

	"github.com/remora-mq/remora/internal/httpguard"
)

// ErrExposed reports an admin listener that others than this machine can reach,
// while no token is configured.
var ErrExposed = errors.New("address is not loopback and no token is set: set listen.admin_token_file, or bind 127.0.0.1")

// Server is one listener's HTTP. It is not used again after Shutdown.
type Server struct {
	http         *http.Server
	conns        *conns
	loopbackOnly bool
	patterns     []string    // what is served: methods and paths
	operations   *operations // nil: there are none
}

// mostHeader bounds the bytes of a request's header.
const mostHeader = 16 << 10

func newServer(handler http.Handler, held *conns, log *slog.Logger) *Server {
	if log == nil {
		log = slog.New(slog.DiscardHandler)
	}
	return &Server{conns: held, http: &http.Server{
		Handler:           handler,
		ReadHeaderTimeout: 5 * time.Second,
		ReadTimeout:       10 * time.Second,
		WriteTimeout:      time.Minute, // write gives what is answered late its own
		IdleTimeout:       time.Minute,
		MaxHeaderBytes:    mostHeader,
		ConnState:         held.changed,
		ConnContext:       withConn,
		// OPTIONS * is answered as any other path that there is not.
		DisableGeneralOptionsHandler: true,
		ErrorLog:                     slog.NewLogLogger(log.Handler(), slog.LevelWarn),
	}}
}

// Handler answers requests, for those who need no listener.
func (s *Server) Handler() http.Handler { return s.http.Handler }

// Serve answers requests from ln until Shutdown, then returns nil. It closes ln.
func (s *Server) Serve(ln net.Listener) error {
	if s.loopbackOnly && httpguard.Exposed(ln.Addr()) {
		return errors.Join(fmt.Errorf("serve admin on %s: %w", ln.Addr(), ErrExposed), ln.Close())
	}
	if err := s.http.Serve(wordsOf{ln}); !errors.Is(err, http.ErrServerClosed) {
		return fmt.Errorf("serve on %s: %w", ln.Addr(), err)
	}
	return nil
}

// EndOperations stops what operators began, lets nothing begin any more, and
// waits for it until ctx is done.
func (s *Server) EndOperations(ctx context.Context) error {
	if s.operations == nil {
		return nil
	}
	return s.operations.end(ctx)
}

// Shutdown stops accepting and waits for running requests. When ctx ends first,
// connections are cut, and the error says so.
func (s *Server) Shutdown(ctx context.Context) error {
	if err := s.http.Shutdown(ctx); err != nil {
		return errors.Join(fmt.Errorf("shut down listener, connections are cut: %w", err), s.http.Close())
	}
	return nil
}
