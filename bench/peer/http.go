package peer

import (
	"bytes"
	"context"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"net"
	"strconv"
	"sync/atomic"

	"crypto/rand"
)

// keyBytes of an idempotency key: eight random ones a connection, and a count.
const keyBytes = 16

// Publisher is a connection that publishes over HTTP. It is a load.Client.
type Publisher struct {
	net.Conn
	request  []byte // room for one
	id       [keyBytes]byte
	response response
	sums     *tally
	own      tally // of this connection
}

// tally is what all connections of a server saw.
type tally struct{ sent, taken atomic.Uint64 }

// DialServer opens a connection to one of our servers that somebody else runs.
func DialServer(ctx context.Context, addr string) (*Publisher, error) {
	return dialHTTP(ctx, addr, &tally{})
}

func dialHTTP(ctx context.Context, addr string, t *tally) (*Publisher, error) {
	var d net.Dialer
	c, err := d.DialContext(ctx, "tcp", addr)
	if err != nil {
		return nil, err
	}
	p := &Publisher{Conn: c, sums: t}
	_, _ = rand.Read(p.id[:8]) // never fails: crypto/rand.Read documents it
	return p, nil
}

// Send publishes body under a key of its own; only 202 says that it was taken.
func (p *Publisher) Send(body []byte) error {
	status, content, err := p.Post("bench", "", body)
	switch {
	case err != nil:
		return err
	case status != 202:
		return fmt.Errorf("answered %d: %s", status, bytes.TrimSpace(content))
	}
	p.own.taken.Add(1)
	return nil
}

// Post publishes body to a topic under a key of its own, with more lines of the
// head, each ended by CRLF. The content of the answer is valid until the next.
func (p *Publisher) Post(topic, head string, body []byte) (status int, content []byte, err error) {
	binary.BigEndian.PutUint64(p.id[8:], p.own.sent.Add(1))
	b := append(append(p.request[:0], "POST /v1/topics/"...), topic...)
	b = append(b, "/messages HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/octet-stream\r\nContent-Length: "...)
	b = append(strconv.AppendInt(b, int64(len(body)), 10), "\r\nIdempotency-Key: "...)
	b = append(append(hex.AppendEncode(b, p.id[:]), "\r\n"...), head...)
	p.request = append(append(b, "\r\n"...), body...)
	if _, err := p.Write(p.request); err != nil {
		return 0, nil, err
	}
	return p.response.read(p)
}

// Close adds what was sent to the server's tally, when nothing more can be. A
// Send that it interrupts counts as sent.
func (p *Publisher) Close() error {
	err := p.Conn.Close()
	p.sums.sent.Add(p.own.sent.Load())
	p.sums.taken.Add(p.own.taken.Load())
	return err
}
