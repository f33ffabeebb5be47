package push

import (
	"bufio"
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/url"
	"sync"
	"time"

	"github.com/valyala/fasthttp"
)

// pool keeps connections that have carried whole exchanges. Its own, because
// only here it is known whether one was closed while it waited.
type pool struct {
	o      Options
	addr   string
	tls    *tls.Config // nil: plain
	dialer net.Dialer
	born   time.Time // its time is since then: to read one clock costs half as much as both

	mu     sync.Mutex
	idle   []*conn // oldest first
	closed bool
}

// conn is one connection, used by one exchange at a time.
type conn struct {
	net.Conn // wire, or TLS over it
	wire     *wire
	reused   bool
	br       *bufio.Reader
	idleFrom time.Duration // of the pool's time
}

// Sizes of what holds the header of a response: as a rule, and at most.
const (
	bufferSize = 16 << 10
	maxHeader  = 1 << 20
)

// readHeader reads the header of the answer, in as large a buffer as it takes.
func (c *conn) readHeader(h *fasthttp.ResponseHeader) error {
	for {
		err := readHeader(c.br, h)
		if _, small := errors.AsType[*fasthttp.ErrSmallBuffer](err); !small {
			return err
		}
		if c.br.Size() >= maxHeader {
			return fmt.Errorf("its header is over %d KiB", maxHeader>>10)
		}
		begun, _ := c.br.Peek(c.br.Buffered()) // all that there is cannot fail
		c.br = bufio.NewReaderSize(io.MultiReader(bytes.NewReader(bytes.Clone(begun)), c), min(4*c.br.Size(), maxHeader))
	}
}

// ordinary reports whether the connection takes no more memory than others.
func (c *conn) ordinary() bool { return c.br.Size() == bufferSize }

func newPool(o Options, u *url.URL) *pool {
	return &pool{
		o: o, addr: address(u), tls: tlsConfig(o, u), born: time.Now(),
		dialer: net.Dialer{Timeout: o.DialTimeout, Control: o.control},
	}
}

// get returns a connection, kept or new.
func (p *pool) get(ctx context.Context, until time.Time) (c *conn, reused bool, err error) {
	for c := p.pop(); c != nil; c = p.pop() {
		if time.Since(p.born)-c.idleFrom < p.o.IdleTimeout && !c.stale() {
			c.reused = true
			return c, true, nil
		}
		_ = c.Close()
	}
	if !until.IsZero() {
		bounded, cancel := context.WithDeadline(ctx, until)
		defer cancel()
		ctx = bounded
	}
	c, err = p.dial(ctx)
	return c, false, err
}

func (p *pool) pop() *conn {
	p.mu.Lock()
	defer p.mu.Unlock()
	n := len(p.idle)
	if n == 0 {
		return nil
	}
	c := p.idle[n-1]
	p.idle = p.idle[:n-1]
	return c
}

// put keeps c for another exchange.
func (p *pool) put(c *conn) {
	c.idleFrom = time.Since(p.born)
	p.mu.Lock()
	defer p.mu.Unlock()
	for len(p.idle) > 0 && (len(p.idle) >= p.o.MaxIdle || c.idleFrom-p.idle[0].idleFrom >= p.o.IdleTimeout) {
		_ = p.idle[0].Close()
		p.idle = p.idle[1:]
	}
	if p.closed || p.o.MaxIdle < 0 {
		_ = c.Close()
		return
	}
	p.idle = append(p.idle, c)
}

func (p *pool) dropIdle() {
	for c := p.pop(); c != nil; c = p.pop() {
		_ = c.Close()
	}
}

func (p *pool) close() {
	p.mu.Lock()
	p.closed = true
	p.mu.Unlock()
	p.dropIdle()
}

func (p *pool) dial(ctx context.Context) (*conn, error) {
	ctx, cancel := context.WithTimeout(ctx, p.o.DialTimeout)
	defer cancel()
	nc, err := p.dialer.DialContext(ctx, "tcp", p.addr)
	if err != nil {
		return nil, err
	}
	w, err := newWire(nc)
	if err != nil {
		return nil, errors.Join(err, nc.Close())
	}
	c := &conn{Conn: w, wire: w}
	if p.tls != nil {
		if err := c.handshake(ctx, p.tls); err != nil {
			return nil, errors.Join(err, w.Close())
		}
	}
	c.br = bufio.NewReaderSize(c, bufferSize)
	return c, nil
}

func (c *conn) handshake(ctx context.Context, cfg *tls.Config) error {
	t := tls.Client(c.Conn, cfg)
	if err := t.HandshakeContext(ctx); err != nil {
		return fmt.Errorf("TLS handshake: %w", err)
	}
	c.Conn = t
	return nil
}
