package httpapi

import (
	"context"
	"fmt"
	"io"
	"net"
	"testing"
	"time"

	"github.com/valyala/fasthttp"

	"github.com/remora-mq/remora/message"
	"github.com/remora-mq/remora/spool"
)

// BenchmarkPublish is the listener's own work for a publish of 1 KiB with an
// idempotency key: no network, and nothing is stored.
func BenchmarkPublish(b *testing.B) {
	benchmarkRequests(b, New(Options{BrokerType: "null"}, unstored{}))
}

// BenchmarkBare is what of it fasthttp takes, with a handler that copies the body and
// answers as much: the rest is ours.
func BenchmarkBare(b *testing.B) {
	s := New(Options{}, unstored{})
	answer := make([]byte, 280)
	s.http.Handler = func(ctx *fasthttp.RequestCtx) {
		body := make([]byte, ctx.Request.Header.ContentLength())
		if _, err := io.ReadFull(ctx.RequestBodyStream(), body); err != nil {
			b.Error(err)
		}
		ctx.SetStatusCode(202)
		ctx.SetContentType(typeJSON)
		ctx.Response.SetBodyRaw(answer)
	}
	benchmarkRequests(b, s)
}

func benchmarkRequests(b *testing.B, s *Server) {
	b.Helper()
	body := make([]byte, 1024)
	request := fmt.Appendf(nil, "POST /v1/topics/bench/messages HTTP/1.1\r\nHost: 127.0.0.1\r\n"+
		"Content-Type: application/octet-stream\r\nContent-Length: %d\r\nIdempotency-Key: 0123456789abcdef0123456789abcdef\r\n\r\n%s", len(body), body)
	nc := &client{request: request, left: b.N, addr: &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1)}}
	c := newConn(nc, timeouts{read: time.Second, slack: time.Second})
	b.ReportAllocs()
	b.SetBytes(int64(len(request)))
	b.ResetTimer()
	s.serveConn(c)
	if nc.left != 0 {
		b.Errorf("%d requests are left", nc.left)
	}
}

// client sends a request again and again, whole each time, and drops answers.
type client struct {
	net.Conn

	addr    net.Addr
	request []byte
	left    int // requests
	at      int // in request
}

func (c *client) Read(p []byte) (int, error) {
	if c.left == 0 {
		return 0, io.EOF
	}
	n := copy(p, c.request[c.at:])
	if c.at += n; c.at == len(c.request) {
		c.at = 0
		c.left--
	}
	return n, nil
}

func (c *client) Write(p []byte) (int, error)      { return len(p), nil }
func (c *client) Close() error                     { return nil }
func (c *client) LocalAddr() net.Addr              { return c.addr }
func (c *client) RemoteAddr() net.Addr             { return c.addr }
func (c *client) SetReadDeadline(time.Time) error  { return nil }
func (c *client) SetWriteDeadline(time.Time) error { return nil }
func (c *client) SetDeadline(time.Time) error      { return nil }

// unstored accepts, and keeps nothing.
type unstored struct{ Spool }

func (unstored) Append(_ context.Context, drafts []spool.Draft) ([]message.Receipt, error) {
	return []message.Receipt{{Topic: drafts[0].Topic, State: message.StatePending, AcceptedAt: time.Now()}}, nil
}
