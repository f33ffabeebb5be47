package httpapi

import (
	"context"
	"fmt"
	"io"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/valyala/fasthttp"

	"github.com/remora-mq/remora/message"
	"github.com/remora-mq/remora/spool"
	"github.com/remora-mq/remora/transaction"
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

// BenchmarkTransaction is the listener's own work for two requests: a transaction of
// one message of 1 KiB is prepared, and committed.
func BenchmarkTransaction(b *testing.B) {
	body := fmt.Sprintf(`{"id":"0123456789abcdef0123456789abcdef","messages":[{"topic":"bench","body":%q}],`+
		`"check":{"url":"http://127.0.0.1:8080/tx","after":"1h","interval":"24h"}}`, strings.Repeat("x", 1024))
	const head = " HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\nContent-Length: "
	request := fmt.Appendf(nil, "POST /v1/transactions%s%d\r\n\r\n%s", head, len(body), body)
	request = fmt.Append(request, "POST /v1/transactions/0123456789abcdef0123456789abcdef/commit", head, "0\r\n\r\n")
	benchmarkRequest(b, New(Options{
		BrokerType: "null", CheckURLs: transaction.Allowed{"http://127.0.0.1:*"}, Transactions: undecided{},
	}, unstored{}), request)
}

func benchmarkRequests(b *testing.B, s *Server) {
	b.Helper()
	body := make([]byte, 1024)
	benchmarkRequest(b, s, fmt.Appendf(nil, "POST /v1/topics/bench/messages HTTP/1.1\r\nHost: 127.0.0.1\r\n"+
		"Content-Type: application/octet-stream\r\nContent-Length: %d\r\nIdempotency-Key: 0123456789abcdef0123456789abcdef\r\n\r\n%s", len(body), body))
}

func benchmarkRequest(b *testing.B, s *Server, request []byte) {
	b.Helper()
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

// undecided takes transactions, and keeps nothing of them.
type undecided struct{ others }

type others = Transactions

func (undecided) Prepare(_ context.Context, d spool.TransactionDraft) (spool.Transaction, []message.Receipt, error) {
	t := spool.Transaction{ID: d.ID, Check: d.Check, PreparedAt: time.Now(), Messages: make([]message.ID, 1)}
	t.NextCheckAt = t.PreparedAt.Add(d.Check.After)
	return t, []message.Receipt{{Topic: d.Messages[0].Topic, State: message.StateHalf, AcceptedAt: t.PreparedAt}}, nil
}

func (undecided) CommitTransaction(_ context.Context, id, by string) (spool.Transaction, error) {
	return spool.Transaction{
		ID: id, State: spool.TransactionCommitted, PreparedAt: time.Now(), EndedAt: time.Now(), DecidedBy: by, Messages: make([]message.ID, 1),
		Receipts: []message.Receipt{{Topic: "bench", State: message.StatePending, AcceptedAt: time.Now()}},
	}, nil
}
