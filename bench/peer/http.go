package peer

import (
	"bytes"
	"context"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"net"
	"sync/atomic"

	"crypto/rand"

	"github.com/remora-mq/remora/bench/load"
)

// keyBytes of an idempotency key: eight random ones a connection, and a count.
const keyBytes = 16

// publisher is a connection that publishes over HTTP. The request is built
// once; key and body are put in place for each message.
type publisher struct {
	net.Conn
	request  []byte
	key      []byte // its place in request
	body     []byte // its place in request
	id       [keyBytes]byte
	response response
	sums     *tally
	own      tally // of this connection
}

// tally is what all connections of a server saw.
type tally struct{ sent, taken atomic.Uint64 }

// DialServer opens a connection to one of our servers that somebody else runs.
func DialServer(ctx context.Context, addr string, size int) (load.Client, error) {
	return dialHTTP(ctx, addr, size, &tally{})
}

func dialHTTP(ctx context.Context, addr string, size int, t *tally) (*publisher, error) {
	var d net.Dialer
	c, err := d.DialContext(ctx, "tcp", addr)
	if err != nil {
		return nil, err
	}
	p := &publisher{Conn: c, sums: t}
	_, _ = rand.Read(p.id[:8]) // never fails: crypto/rand.Read documents it
	p.build(size)
	return p, nil
}

func (p *publisher) build(size int) {
	p.request = fmt.Appendf(nil, "POST /v1/topics/bench/messages HTTP/1.1\r\nHost: 127.0.0.1\r\n"+
		"Content-Type: application/octet-stream\r\nContent-Length: %d\r\nIdempotency-Key: ", size)
	at := len(p.request)
	end := at + 2*keyBytes
	p.request = append(p.request, make([]byte, end-at+len("\r\n\r\n")+size)...)
	p.key = p.request[at:end]
	copy(p.request[end:], "\r\n\r\n")
	p.body = p.request[len(p.request)-size:]
}

// Send publishes body under a key of its own; only 202 says that it was taken.
func (p *publisher) Send(body []byte) error {
	binary.BigEndian.PutUint64(p.id[8:], p.own.sent.Add(1))
	hex.Encode(p.key, p.id[:])
	copy(p.body, body)
	if _, err := p.Write(p.request); err != nil {
		return err
	}
	status, content, err := p.response.read(p)
	switch {
	case err != nil:
		return err
	case status != 202:
		return fmt.Errorf("answered %d: %s", status, bytes.TrimSpace(content))
	}
	p.own.taken.Add(1)
	return nil
}

// Close adds what was sent to the server's tally, when nothing more can be. A
// Send that it interrupts counts as sent.
func (p *publisher) Close() error {
	err := p.Conn.Close()
	p.sums.sent.Add(p.own.sent.Load())
	p.sums.taken.Add(p.own.taken.Load())
	return err
}
