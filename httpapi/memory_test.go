package httpapi_test

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/remora-mq/remora/httpapi"
	"github.com/remora-mq/remora/message"
	"github.com/remora-mq/remora/spool"
	"github.com/remora-mq/remora/transaction"
)

const (
	largeBody  = 1 << 20
	manyBodies = 8
)

// TestNoBodyOutlivesItsCount: the memory of a body is given up when its bytes are given
// back to the budget, not when its client, which may be slow, has read the answer.
func TestNoBodyOutlivesItsCount(t *testing.T) {
	const asEvent, asEvents = "Content-Type: application/cloudevents+json\r\n", "Content-Type: application/cloudevents-batch+json\r\n"
	body := strings.Repeat("x", largeBody)
	event := `{"specversion":"1.0","id":"1","source":"s","type":"t","data":"` + body + `"}`
	item := `{"topic":"orders","body":"` + body + `"}`
	wrongDigest := "Content-Digest: sha-256=:" + strings.Repeat("A", 43) + "=:\r\n"
	full := func() error { return spool.ErrFull }
	for _, one := range []struct {
		name, path, header, body string
		end                      func() error
		status                   int
	}{
		{name: "accepted", path: orders, body: body, status: 202},
		{name: "accepted after 100", path: orders, header: "Expect: 100-continue\r\n", body: body, status: 202},
		{name: "wrong digest", path: orders, header: wrongDigest, body: body, status: 400},
		{name: "wrong tag", path: orders, header: "MQ-Tag: a||b\r\n", body: body, status: 400},
		{name: "not stored", path: orders, body: body, end: full, status: 503},
		{name: "panic", path: orders, body: body, end: func() error { panic("a bug") }, status: 500},
		{name: "event", path: orders, header: asEvent, body: event, status: 202},
		{name: "no event", path: orders, header: asEvent, body: body, status: 400},
		{name: "events", path: orders, header: asEvents, body: "[" + event + "]", status: 202},
		{name: "batch", path: batchPath, header: "Content-Type: application/json\r\n", body: "[" + item + "]", status: 202},
		{name: "batch not stored", path: batchPath, header: "Content-Type: application/json\r\n", body: "[" + item + "]", end: full, status: 503},
		{
			name: "transaction", path: transactionsPath, header: "Content-Type: application/json\r\n",
			body: `{"messages":[` + item + `],"check":{"url":"http://127.0.0.1:8080/tx"}}`, status: 503,
		},
	} {
		for _, chunked := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s, chunked %t", one.name, chunked), func(t *testing.T) {
				p := startPiped(t, &unkeepingSpool{fakeSpool: newFakeSpool(), end: one.end})
				clients := p.sendMany(one.path, one.header, one.body, chunked)
				first := make([]byte, 1)
				for _, c := range clients {
					if _, err := io.ReadFull(c, first); err != nil { // the rest of the answer is being written
						t.Fatal(err)
					}
				}
				p.holdsNone()
				res, err := http.ReadResponse(bufio.NewReader(io.MultiReader(bytes.NewReader(first), clients[0])), nil)
				if err != nil {
					t.Fatal(err)
				}
				if a := readAnswer(t, res); a.status != one.status {
					t.Errorf("answered %d %s, want %d", a.status, a.raw, one.status)
				}
			})
		}
	}
}

// TestNoBodyIsHeldWhileItsClientWaits: Prefer: wait may take a minute.
func TestNoBodyIsHeldWhileItsClientWaits(t *testing.T) {
	sp := &unkeepingSpool{fakeSpool: newFakeSpool(), waiting: make(chan struct{})}
	p := startPiped(t, sp)
	p.sendMany(orders, "Prefer: wait=60\r\n", strings.Repeat("x", largeBody), false)
	for range manyBodies {
		<-sp.waiting
	}
	p.holdsNone()
}

// unkeepingSpool stores no bodies.
type unkeepingSpool struct {
	*fakeSpool
	end     func() error  // of Append; nil: it accepts
	waiting chan struct{} // a value for each Wait, which ends with its context
}

func (s *unkeepingSpool) Append(_ context.Context, drafts []spool.Draft) ([]message.Receipt, error) {
	if s.end != nil {
		return nil, s.end()
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	return []message.Receipt{s.accept(spool.Draft{Message: message.Message{Topic: drafts[0].Topic}})}, nil
}

func (s *unkeepingSpool) Wait(ctx context.Context, _ message.ID) (message.Receipt, error) {
	s.waiting <- struct{}{}
	<-ctx.Done()
	return message.Receipt{}, ctx.Err()
}

// noTransactions are those of a spool that is full.
type noTransactions struct{ *spool.Spool }

func (noTransactions) Prepare(context.Context, spool.TransactionDraft) (spool.Transaction, []message.Receipt, error) {
	return spool.Transaction{}, nil, spool.ErrFull
}

// piped is a server behind pipes, which hold nothing: it writes no more of an answer
// than its client reads.
type piped struct {
	*listener

	conns  chan net.Conn
	before int64 // bytes of the heap
}

func startPiped(t *testing.T, sp *unkeepingSpool) *piped {
	t.Helper()
	ln := &pipeListener{conns: make(chan net.Conn), closed: make(chan struct{})}
	opts := httpapi.Options{WriteTimeout: time.Minute, Transactions: noTransactions{}, CheckURLs: transaction.Allowed{"http://127.0.0.1:*"}}
	return &piped{listener: startServer(t, ln, opts, sp, sp.fakeSpool), conns: ln.conns}
}

// sendMany sends a request on connections of its own.
func (p *piped) sendMany(path, header, body string, chunked bool) []net.Conn {
	p.t.Helper()
	head := "POST " + path + " HTTP/1.1\r\nHost: localhost\r\n" + header
	if chunked {
		head += "Transfer-Encoding: chunked\r\n\r\n"
		body = fmt.Sprintf("%x\r\n%s\r\n0\r\n\r\n", len(body), body)
	} else {
		head += fmt.Sprintf("Content-Length: %d\r\n\r\n", len(body))
	}
	p.before = heap()
	clients := make([]net.Conn, manyBodies)
	for i := range clients {
		c, served := net.Pipe()
		p.t.Cleanup(func() { c.Close() })
		if err := c.SetDeadline(time.Now().Add(30 * time.Second)); err != nil {
			p.t.Fatal(err)
		}
		p.conns <- served
		_, err := io.WriteString(c, head)
		if err == nil && strings.Contains(header, "100-continue") {
			_, err = io.ReadFull(c, make([]byte, len("HTTP/1.1 100 Continue\r\n\r\n")))
		}
		if err == nil {
			_, err = io.WriteString(c, body)
		}
		if err != nil {
			p.t.Fatal(err)
		}
		clients[i] = c
	}
	return clients
}

// holdsNone asserts that the bodies are not in memory.
func (p *piped) holdsNone() {
	p.t.Helper()
	if held := heap() - p.before; held > 2*largeBody {
		p.t.Errorf("%d KiB are held of %d bodies of %d KiB", held>>10, manyBodies, largeBody>>10)
	}
}

// pipeListener accepts what it is given.
type pipeListener struct {
	conns  chan net.Conn
	closed chan struct{}
	once   sync.Once // Shutdown closes it, and so does Serve
}

func (l *pipeListener) Accept() (net.Conn, error) {
	select {
	case c := <-l.conns:
		return c, nil
	case <-l.closed:
		return nil, net.ErrClosed
	}
}

func (l *pipeListener) Close() error {
	l.once.Do(func() { close(l.closed) })
	return nil
}

func (l *pipeListener) Addr() net.Addr { return &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1)} }
