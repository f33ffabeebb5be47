package httpapi

import (
	"errors"
	"fmt"
	"runtime/debug"
	"time"

	"github.com/valyala/fasthttp"

	"github.com/remora-mq/remora/internal/problem"
)

// response is an answer, before it is fasthttp's.
type response struct {
	status      int
	contentType string
	location    []byte
	header      []answerField
	body        []byte
}

type answerField struct{ name, value string }

func (r *response) set(name, value string) { r.header = append(r.header, answerField{name, value}) }

// handle answers one request. fasthttp calls it when the header and the first
// byte of the body have come.
func (s *Server) handle(ctx *fasthttp.RequestCtx) {
	c, ok := ctx.Conn().(*conn)
	if !ok {
		panic("httpapi: a connection that Serve did not accept")
	}
	b := s.newBody(ctx, c)
	defer c.handled()
	res := s.answer(ctx, c, b, ctx.Time())
	if b.endsConnection() {
		c.unread = true
		ctx.SetConnectionClose()
	}
	if c.finishing.Load() {
		ctx.SetConnectionClose()
	}
	write(ctx, res)
}

// expect answers a request with Expect: 100-continue. What can be said without
// its body is said at once; 100 means that handle is to be called with it.
// fasthttp closes the connection after any other status, and sends the response
// with it, though its documentation says that it must not be changed here.
func (s *Server) expect(ctx *fasthttp.RequestCtx) int {
	c, ok := ctx.Conn().(*conn)
	if !ok {
		panic("httpapi: a connection that Serve did not accept")
	}
	b := s.offeredBody(ctx, c)
	defer c.handled()
	res := s.answer(ctx, c, b, time.Now())
	if b.wanted {
		return fasthttp.StatusContinue
	}
	c.unread = true
	write(ctx, res)
	return res.status
}

func (s *Server) answer(ctx *fasthttp.RequestCtx, c *conn, b *body, began time.Time) (res response) {
	publish := false
	defer func() {
		if p := recover(); p != nil { // fasthttp would end the process
			s.opts.Log.Error("handler panicked", "panic", fmt.Sprint(p), "stack", string(debug.Stack()))
			res = s.refuse(problem.New(problem.Internal, "the request met a bug; the sidecar's log has it"))
		}
		if publish && !b.wanted {
			s.metrics.answered(res.status)
		}
	}()
	r, err := s.receive(ctx, c)
	if err != nil {
		publish = true // whatever it was to be: it did not get far enough to say
		c.unread = true
		ctx.SetConnectionClose()
		return s.refuse(err)
	}
	r.began = began
	publish = r.route != nil && r.route.publish && (r.method == post || !r.route.transactions)
	if res, err = s.serveRoute(r); err != nil && !b.wanted {
		return s.refuse(err)
	}
	return res
}

// handleBadRequest answers what fasthttp could not read. It closes the
// connection afterwards. Its errors repeat the request, so they are not told.
func (s *Server) handleBadRequest(ctx *fasthttp.RequestCtx, err error) {
	var tooSmall *fasthttp.ErrSmallBuffer
	p := problem.New(problem.InvalidRequest, "the request is not well-formed HTTP/1.1")
	switch {
	case errors.As(err, &tooSmall):
		p = problem.New(problem.HeadersTooLarge, "the headers have more than %d bytes", s.opts.MaxHeader).WithLimit(int64(s.opts.MaxHeader))
	case timedOut(err):
		p = problem.New(problem.RequestTimeout, "the request did not arrive in time")
	case errors.Is(err, fasthttp.ErrBodyTooLarge):
		p = problem.New(problem.MessageTooLarge, "the body is too large").WithLimit(int64(s.opts.MaxBatchBytes))
	}
	if c, ok := ctx.Conn().(*conn); ok {
		c.unread = true
	}
	s.metrics.answered(p.Status)
	ctx.Response.Reset()
	write(ctx, s.refuse(p))
}

// onEach is in every answer.
var onEach = [...][2][]byte{
	{[]byte("X-Content-Type-Options"), []byte("nosniff")},
	{[]byte("Cache-Control"), []byte("no-store")},
}

var locationName = []byte("Location")

// write hands an answer to fasthttp. The body is ours, and nobody changes it until
// it is written.
func write(ctx *fasthttp.RequestCtx, res response) {
	ctx.SetStatusCode(res.status)
	for _, h := range onEach {
		ctx.Response.Header.SetCanonical(h[0], h[1])
	}
	if len(res.location) > 0 {
		ctx.Response.Header.SetCanonical(locationName, res.location)
	}
	for _, h := range res.header {
		ctx.Response.Header.Set(h.name, h.value)
	}
	ctx.SetContentType(res.contentType)
	ctx.Response.SetBodyRaw(res.body)
}
