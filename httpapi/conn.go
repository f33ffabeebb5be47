package httpapi

import (
	"errors"
	"io"
	"net"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"github.com/valyala/fasthttp"
)

// parkAfter is how long a connection keeps fasthttp's buffers while it waits
// for its next request. A busy client sends again sooner.
const parkAfter = 250 * time.Millisecond

// conn is a client's connection. It lives through these turns:
//
//	awaitRequest ─ first byte ─→ fasthttp serves ─ next byte within parkAfter ─→ serves again
//	     ↑                            └─ nothing came: Read says EOF, Close does nothing: parked
//	     └────────────────────────────┘
//
// fasthttp keeps a read buffer as large as the largest header for as long as it
// has a connection; parking takes the connection away from it. All fields but
// those under mu belong to the goroutine that serves the connection.
type conn struct {
	net.Conn

	idle   bool // fasthttp has answered and waits for the next request
	parked bool // Read told fasthttp that the connection has ended
	ended  bool // the client has sent all it will
	unread bool // the client may still be sending what we will not read
	first  byte // read by awaitRequest, before fasthttp
	held   bool // first waits to be read

	timeouts timeouts
	until    time.Time // when the request has to be over; zero: nobody waits for more of it yet
	reads    time.Time // read deadline that the socket has
	writes   time.Time // write deadline that the socket has

	pulled pulled // that the answer hands over

	request *request // that is being answered; nil: none is
	last    target   // of the last request without a query, if it is short

	finishing atomic.Bool // no further request is taken; set under mu

	mu      sync.Mutex
	waiting bool // in awaitRequest: nothing of fasthttp is held
	busy    bool // a request is on its way: finish must not close; its goroutine alone changes it
}

func newConn(nc net.Conn, t timeouts) *conn { return &conn{Conn: nc, timeouts: t} }

// connState keeps idle and busy true to what fasthttp does. It is called on the
// connection's own goroutine.
func connState(nc net.Conn, state fasthttp.ConnState) {
	c, ok := nc.(*conn)
	if !ok {
		return
	}
	switch state {
	case fasthttp.StateActive:
		c.idle = false
		if !c.busy { // it was in the buffer already
			c.begin()
		}
	case fasthttp.StateIdle:
		c.idle, c.until = true, time.Time{}
		c.handedOver()
		c.dropRequest()
		c.rest()
	default: // new and closed are Serve's, and nothing is hijacked
	}
}

// awaitRequest blocks until the first byte of a request has come. It returns
// false when the connection has ended.
func (c *conn) awaitRequest(idle time.Duration) bool {
	if c.armRead(time.Now().Add(idle)) != nil {
		return false
	}
	c.mu.Lock()
	c.waiting = true
	c.mu.Unlock()
	var b [1]byte
	if n, _ := c.Conn.Read(b[:]); n == 0 || !c.begin() {
		return false
	}
	c.first, c.held, c.idle = b[0], true, false
	return true
}

// unpark reports whether the connection was parked and may be awaited again.
func (c *conn) unpark() bool {
	parked := c.parked
	c.parked = false
	return parked
}

// Read reads for fasthttp.
func (c *conn) Read(p []byte) (int, error) {
	switch {
	case c.held && len(p) > 0:
		c.held = false
		p[0] = c.first
		_ = c.armRequest()         // as below
		n, _ := c.Conn.Read(p[1:]) // no request has one byte; an error comes again with the next read
		return n + 1, nil
	case c.idle:
		return c.readNext(p)
	}
	if err := c.armRequest(); err != nil {
		return 0, err
	}
	n, err := c.Conn.Read(p)
	c.ended = c.ended || errors.Is(err, io.EOF)
	return n, err
}

// readNext reads the beginning of the next request, or parks.
func (c *conn) readNext(p []byte) (int, error) {
	if c.finishing.Load() || c.armPark() != nil {
		return 0, io.EOF
	}
	n, err := c.Conn.Read(p)
	if n > 0 && c.begin() {
		return n, nil
	}
	c.parked = n == 0 && errors.Is(err, os.ErrDeadlineExceeded)
	return 0, io.EOF
}

// Close closes the connection, unless it is only parked.
func (c *conn) Close() error {
	if c.parked {
		return nil
	}
	c.handedOver()
	if c.unread {
		c.linger()
	}
	return c.Conn.Close()
}

// linger lets the client read our answer while it still sends. Closing at once
// would reset the connection, and the answer would be lost with it.
func (c *conn) linger() {
	const most, longest = 64 << 20, time.Second
	half, ok := c.Conn.(interface{ CloseWrite() error })
	if !ok || half.CloseWrite() != nil || c.armRead(time.Now().Add(longest)) != nil {
		return
	}
	_, _ = io.CopyN(io.Discard, c.Conn, most) // ends when the client has read and closed
}

// begin marks a request as running; false when none may begin any more.
func (c *conn) begin() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.waiting = false
	c.busy = c.busy || !c.finishing.Load()
	return c.busy
}

func (c *conn) rest() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.busy = false
}

// finish closes the connection as soon as it has no request.
func (c *conn) finish() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.finishing.Store(true)
	if !c.busy {
		_ = c.Conn.Close() // its goroutine sees the end
	}
}
