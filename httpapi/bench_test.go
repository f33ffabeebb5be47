package httpapi

import (
	"context"
	"fmt"
	"io"
	"net"
	"testing"
	"time"

	"github.com/remora-mq/remora/message"
	"github.com/remora-mq/remora/spool"
)

// BenchmarkPublish is the listener's own work for a publish of 1 KiB with an
// idempotency key: no network, and nothing is stored.
func BenchmarkPublish(b *testing.B) {
	body := make([]byte, 1024)
	request := fmt.Appendf(nil, "POST /v1/topics/bench/messages HTTP/1.1\r\nHost: 127.0.0.1\r\n"+
		"Content-Type: application/octet-stream\r\nContent-Length: %d\r\nIdempotency-Key: 0123456789abcdef0123456789abcdef\r\n\r\n%s", len(body), body)
	s := New(Options{BrokerType: "null"}, unstored{})
	c := newConn(&client{request: request, left: b.N}, timeouts{read: time.Second, slack: time.Second})
	b.ReportAllocs()
	b.SetBytes(int64(len(request)))
	b.ResetTimer()
	s.serveConn(c)
}

// client sends a request again and again, whole each time, and drops answers.
type client struct {
	net.Conn

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
func (c *client) LocalAddr() net.Addr              { return &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1)} }
func (c *client) RemoteAddr() net.Addr             { return c.LocalAddr() }
func (c *client) SetReadDeadline(time.Time) error  { return nil }
func (c *client) SetWriteDeadline(time.Time) error { return nil }
func (c *client) SetDeadline(time.Time) error      { return nil }

// unstored accepts, and keeps nothing.
type unstored struct{ Spool }

func (unstored) Append(_ context.Context, drafts []spool.Draft) ([]message.Receipt, error) {
	return []message.Receipt{{Topic: drafts[0].Topic, State: message.StatePending, AcceptedAt: time.Now()}}, nil
}
