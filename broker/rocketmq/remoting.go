package rocketmq

import (
	"context"
	"errors"
	"fmt"
	"net"
	"sync"
	"time"
)

const (
	dialTimeout = 2 * time.Second
	callTimeout = 5 * time.Second
	// idleLimit is well below the 120 s after which a broker closes an idle
	// connection (NettyServerConfig.serverChannelMaxIdleTimeSeconds).
	idleLimit = 30 * time.Second
	idleConns = 4 // kept for each address
)

// remoting makes calls of RocketMQ's protocol that the library does not offer,
// or whose answer it does not read. A connection carries one call at a time.
type remoting struct {
	keys func() Keys

	mu     sync.Mutex
	closed bool
	opaque int32
	idle   map[string][]idleConn
}

type idleConn struct {
	net.Conn
	since time.Time
}

// notSentError is a failure before any byte of the request was written.
type notSentError struct{ err error }

func (e *notSentError) Error() string { return e.err.Error() }
func (e *notSentError) Unwrap() error { return e.err }

// certainlyNotSent reports whether the broker cannot have seen the request.
func certainlyNotSent(err error) bool {
	_, ok := errors.AsType[*notSentError](err)
	return ok
}

func newRemoting(keys func() Keys) *remoting {
	return &remoting{keys: keysOf(keys), idle: map[string][]idleConn{}}
}

// call sends one request and returns the answer. An answer other than SUCCESS
// is a *responseError. It ends with ctx, and after callTimeout at the latest.
func (r *remoting) call(ctx context.Context, addr string, c command) (command, error) {
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	answer, err := r.exchange(ctx, addr, c)
	switch {
	case err != nil:
		return command{}, fmt.Errorf("call %s with request %d: %w", addr, c.Code, err)
	case answer.Code != codeSuccess:
		return answer, &responseError{Code: answer.Code, Remark: answer.Remark}
	}
	return answer, nil
}

func (r *remoting) exchange(ctx context.Context, addr string, c command) (command, error) {
	r.keys().sign(&c)
	c.Opaque = r.nextOpaque()
	frame, err := encodeFrame(c)
	if err != nil {
		return command{}, &notSentError{err}
	}
	conn, err := r.connect(ctx, addr)
	if err != nil {
		return command{}, &notSentError{err}
	}
	// A context that ends now would set the deadline of the connection's next call.
	stop := context.AfterFunc(ctx, func() { _ = conn.SetDeadline(time.Unix(1, 0)) })
	answer, err := roundTrip(ctx, conn, frame, c.Opaque)
	if stopped := stop(); err == nil && stopped {
		r.keep(addr, conn)
	} else {
		discard(conn)
	}
	return answer, err
}

func roundTrip(ctx context.Context, conn net.Conn, frame []byte, opaque int32) (command, error) {
	deadline, _ := ctx.Deadline()
	if err := conn.SetDeadline(deadline); err != nil {
		return command{}, &notSentError{err}
	}
	if err := ctx.Err(); err != nil {
		return command{}, &notSentError{err}
	}
	if _, err := conn.Write(frame); err != nil {
		return command{}, err
	}
	return readAnswer(conn, opaque)
}

// readAnswer skips the broker's own requests, as that a group has changed.
func readAnswer(conn net.Conn, opaque int32) (command, error) {
	for {
		c, err := readFrame(conn)
		switch {
		case err != nil:
			return command{}, err
		case c.Flag&flagAnswer == 0:
			continue
		case c.Opaque != opaque:
			return command{}, fmt.Errorf("answer %d to request %d", c.Opaque, opaque)
		}
		return c, nil
	}
}

func (r *remoting) nextOpaque() int32 {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.opaque++
	return r.opaque
}

func (r *remoting) connect(ctx context.Context, addr string) (net.Conn, error) {
	if conn := r.reuse(addr); conn != nil {
		return conn, nil
	}
	return (&net.Dialer{Timeout: dialTimeout}).DialContext(ctx, "tcp", addr)
}

// reuse returns the connection used last, and closes those idle for too long.
func (r *remoting) reuse(addr string) net.Conn {
	r.mu.Lock()
	defer r.mu.Unlock()
	list := r.idle[addr]
	for len(list) > 0 && time.Since(list[0].since) > idleLimit {
		discard(list[0])
		list = list[1:]
	}
	if len(list) == 0 {
		delete(r.idle, addr)
		return nil
	}
	last := list[len(list)-1]
	r.idle[addr] = list[:len(list)-1]
	return last.Conn
}

func (r *remoting) keep(addr string, conn net.Conn) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.closed || len(r.idle[addr]) >= idleConns {
		discard(conn)
		return
	}
	r.idle[addr] = append(r.idle[addr], idleConn{conn, time.Now()})
}

// forget closes the idle connections to an address.
func (r *remoting) forget(addr string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, c := range r.idle[addr] {
		discard(c)
	}
	delete(r.idle, addr)
}

// discard closes a connection of which nothing more is wanted: its error says
// nothing.
func discard(c net.Conn) { _ = c.Close() }

// close closes idle connections; calls that run close theirs.
func (r *remoting) close() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.closed = true
	for _, list := range r.idle {
		for _, c := range list {
			discard(c)
		}
	}
	clear(r.idle)
}
