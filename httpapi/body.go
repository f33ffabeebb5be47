package httpapi

import (
	"errors"
	"io"

	"github.com/valyala/fasthttp"

	"github.com/remora-mq/remora/internal/problem"
)

// body is a request's body, not read yet. It reads into new memory, which the
// budget counts until release.
type body struct {
	stream  io.Reader // fasthttp's; nil: there is no body
	length  int       // Content-Length; -1: chunked
	conn    *conn
	budget  *budget
	taken   int64
	drained bool // read to its end
	offered bool // the client sends it when it is told to continue
	wanted  bool // somebody wants to read what is offered
}

var errOffered = errors.New("the body is only offered")

func (s *Server) newBody(ctx *fasthttp.RequestCtx, c *conn) *body {
	b := &c.newRequest().body
	*b = body{stream: ctx.RequestBodyStream(), length: ctx.Request.Header.ContentLength(), conn: c, budget: s.budget}
	if b.stream == nil { // fasthttp says -2 of a GET, which is not chunked
		b.length = 0
	}
	b.drained = b.length == 0
	return b
}

// offeredBody is the body of a request with Expect: 100-continue, before that.
func (s *Server) offeredBody(ctx *fasthttp.RequestCtx, c *conn) *body {
	length := ctx.Request.Header.ContentLength()
	b := &c.newRequest().body
	*b = body{length: length, conn: c, budget: s.budget, offered: true, drained: length == 0}
	return b
}

// chunked bodies end their connection; see doc.go, The door.
func (b *body) endsConnection() bool { return !b.drained || b.length < 0 }

// release gives the bytes back to the budget: they are in the spool now, or
// nobody needs them.
func (b *body) release() {
	b.budget.give(b.taken)
	b.taken = 0
}

// read returns the body, of at most limit bytes. tooLarge makes the refusal of
// a longer one.
func (b *body) read(limit int, tooLarge func(limit int) error) ([]byte, error) {
	switch {
	case b.drained:
		return nil, nil
	case b.length > limit:
		return nil, tooLarge(limit)
	case b.offered:
		b.wanted = true
		return nil, errOffered
	case b.length < 0:
		return b.readChunks(limit, tooLarge)
	}
	if err := b.take(b.length); err != nil {
		return nil, err
	}
	buf := make([]byte, b.length)
	if _, err := io.ReadFull(b.stream, buf); err != nil {
		return nil, b.broken(err)
	}
	b.drained = true
	return buf, nil
}

func (b *body) readChunks(limit int, tooLarge func(limit int) error) ([]byte, error) {
	const firstGuess = 4 << 10
	var buf []byte
	for {
		if len(buf) > limit {
			return nil, tooLarge(limit)
		}
		if len(buf) == cap(buf) {
			grown := min(max(2*cap(buf), firstGuess), limit+1)
			if err := b.take(grown - cap(buf)); err != nil {
				return nil, err
			}
			buf = append(make([]byte, 0, grown), buf...)
		}
		n, err := b.stream.Read(buf[len(buf):cap(buf)])
		buf = buf[:len(buf)+n]
		if err != nil {
			return b.lastChunk(buf, limit, err, tooLarge)
		}
	}
}

// lastChunk judges the end of a chunked body. fasthttp says EOF after the last
// chunk, and also when the client hung up between two chunks; the connection
// knows which.
func (b *body) lastChunk(buf []byte, limit int, err error, tooLarge func(limit int) error) ([]byte, error) {
	switch {
	case !errors.Is(err, io.EOF):
		return nil, b.broken(err)
	case b.conn.ended:
		return nil, malformed("the body ended before its last chunk")
	case len(buf) > limit:
		return nil, tooLarge(limit)
	}
	b.drained = true
	return buf, nil
}

func (b *body) take(n int) error {
	if !b.budget.take(int64(n)) {
		return problem.New(problem.Busy, "the bodies being received fill the memory set aside for them (memory.ingest)")
	}
	b.taken += int64(n)
	return nil
}

func (b *body) broken(err error) error {
	if timedOut(err) {
		return problem.New(problem.RequestTimeout, "the body did not arrive in time")
	}
	return malformed("the body broke off, or its chunks are malformed")
}

func timedOut(err error) bool {
	var t interface{ Timeout() bool }
	return errors.As(err, &t) && t.Timeout()
}
