package httpapi

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log"
	"net"
	"strings"
	"syscall"
	"time"

	"github.com/valyala/fasthttp"

	"github.com/remora-mq/remora/internal/httpguard"
	"github.com/remora-mq/remora/internal/problem"
)

// ErrExposed reports a listener that others than this machine can reach, while
// no token is configured.
var ErrExposed = errors.New("address is not loopback and no token is set: set listen.token_file, or bind 127.0.0.1")

// newFasthttp configures the parser of requests. It never accepts: Serve does,
// and hands over one connection at a time.
func (s *Server) newFasthttp() *fasthttp.Server {
	return &fasthttp.Server{
		Handler:                      s.handle,
		ErrorHandler:                 s.handleBadRequest,
		ConnState:                    connState,
		StreamRequestBody:            true, // see doc.go, The door
		MaxRequestBodySize:           1,    // fasthttp waits for as many bytes, up to 8 KiB, before it calls handle; ours are the limits
		ExpectHandler:                s.expect,
		DisablePreParseMultipartForm: true, // a body is opaque
		ReadBufferSize:               s.opts.MaxHeader,
		WriteTimeout:                 s.opts.WriteTimeout, // of reads the connection knows, see deadline.go
		Concurrency:                  s.opts.MaxConns + 1, // admit counts; fasthttp must not refuse in its own words
		NoDefaultServerHeader:        true,
		NoDefaultContentType:         true,
		SecureErrorLogMessage:        true, // its messages repeat what was sent, tokens included
		Logger:                       log.New(io.Discard, "", 0),
	}
}

// Serve accepts connections from ln until Shutdown, then returns nil. It closes
// ln. Several listeners may be served at the same time.
func (s *Server) Serve(ln net.Listener) error {
	defer ln.Close() //nolint:errcheck // Shutdown may have closed it
	if httpguard.Exposed(ln.Addr()) && !s.tokens.Required() {
		return fmt.Errorf("serve data on %s: %w", ln.Addr(), ErrExposed)
	}
	if !s.addListener(ln) {
		return nil
	}
	defer s.serving.Done()
	for {
		nc, err := ln.Accept()
		switch {
		case err == nil:
			s.admit(nc)
		case s.isStopping():
			return nil
		case outOfResources(err):
			s.pause(100 * time.Millisecond)
		default:
			return fmt.Errorf("accept on %s: %w", ln.Addr(), err)
		}
	}
}

// outOfResources reports errors of Accept that pass.
func outOfResources(err error) bool {
	for _, e := range []error{syscall.EMFILE, syscall.ENFILE, syscall.ENOBUFS, syscall.ENOMEM, syscall.ECONNABORTED} {
		if errors.Is(err, e) {
			return true
		}
	}
	return false
}

func (s *Server) pause(d time.Duration) {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-s.waits.Done():
	}
}

func (s *Server) addListener(ln net.Listener) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.stopping {
		return false
	}
	s.listeners[ln] = struct{}{}
	s.serving.Add(1)
	return true
}

func (s *Server) isStopping() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.stopping
}

// admit starts a goroutine that serves the connection, or refuses it.
func (s *Server) admit(nc net.Conn) {
	if !peerAllowed(nc, s.opts.PeerUIDs) {
		s.turnAway(nc, problem.New(problem.PeerRefused, "the user of this process is not one of the configured ones"))
		return
	}
	if p := s.startServing(newConn(nc, timeouts{read: s.opts.ReadTimeout, slack: s.opts.WriteTimeout / 8})); p != nil {
		s.turnAway(nc, p)
	}
}

func (s *Server) startServing(c *conn) *problem.Problem {
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case s.stopping:
		return problem.New(problem.Draining, "the sidecar is stopping")
	case len(s.conns) >= s.opts.MaxConns:
		return problem.New(problem.Busy, "as many connections are open as are allowed").WithLimit(int64(s.opts.MaxConns))
	}
	s.conns[c] = struct{}{}
	s.serving.Go(func() { s.serveConn(c) })
	return nil
}

// turnAway answers before a request was read, in one small write that cannot block.
func (s *Server) turnAway(nc net.Conn, p *problem.Problem) {
	defer nc.Close() //nolint:errcheck // the peer may be gone
	res := s.refuse(p)
	var head strings.Builder
	fmt.Fprintf(&head, "HTTP/1.1 %d %s\r\nContent-Type: %s\r\nContent-Length: %d\r\nConnection: close\r\n",
		res.status, fasthttp.StatusMessage(res.status), problem.ContentType, len(res.body))
	for _, h := range res.header {
		head.WriteString(h.name + ": " + h.value + "\r\n")
	}
	if nc.SetWriteDeadline(time.Now().Add(100*time.Millisecond)) == nil {
		_, _ = nc.Write(append([]byte(head.String()+"\r\n"), res.body...)) // the peer may be gone
	}
}

// tlsHandshake is what TLS begins with, and no request. Its client waits for an answer, and
// what it has sent mostly has no end of a line, for which fasthttp would wait as long as a
// request may take.
const tlsHandshake = 0x16

func (s *Server) serveConn(c *conn) {
	defer s.forget(c)
	for c.awaitRequest(s.opts.IdleTimeout) {
		if c.first == tlsHandshake {
			c.unread = true
			s.metrics.answered(fasthttp.StatusBadRequest)
			s.turnAway(c, problem.New(problem.InvalidRequest, "this listener has no TLS: write http://, not https://"))
			return
		}
		_ = s.http.ServeConn(c) // what went wrong was answered, or there is nobody to answer
		if !c.unpark() {
			return
		}
	}
}

func (s *Server) forget(c *conn) {
	_ = c.Conn.Close() // it may be closed
	c.dropRequest()
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.conns, c)
}

// Drain makes every publish from now on a 503 draining; what is being stored is
// answered, and receipts can still be read.
func (s *Server) Drain() { s.draining.Store(true) }

// Shutdown stops accepting, lets running requests finish, closes all
// connections and waits for them. A Prefer: wait is answered at once, with 202.
// When ctx ends first, those that wait for the disk are answered, that it is not
// known or not stored. What runs even then is cut, and the error says so.
func (s *Server) Shutdown(ctx context.Context) error {
	s.Drain()
	s.stopAccepting()
	s.endWaits()
	ended := make(chan struct{})
	go func() {
		s.serving.Wait()
		close(ended)
	}()
	select {
	case <-ended:
		s.endWork()
		return nil
	case <-ctx.Done():
	}
	s.endWork()
	timer := time.NewTimer(lastAnswers)
	defer timer.Stop()
	select {
	case <-ended:
		return nil
	case <-timer.C:
		return fmt.Errorf("shut down data listener: %d connections cut: %w", s.cut(), ctx.Err())
	}
}

// lastAnswers is how long a Shutdown that is out of time lets answers be written.
const lastAnswers = 500 * time.Millisecond

func (s *Server) stopAccepting() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.stopping = true
	for ln := range s.listeners {
		_ = ln.Close() // Serve returns
	}
	for c := range s.conns {
		c.finish()
	}
}

func (s *Server) cut() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	for c := range s.conns {
		_ = c.Conn.Close() // its goroutine sees the end
	}
	return len(s.conns)
}
