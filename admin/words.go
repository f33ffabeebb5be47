package admin

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"time"

	"github.com/remora-mq/remora/internal/problem"
)

// wordsOf is a listener whose connections say in a problem document what net/http says in
// plain text, before any handler sees the request: that it is malformed, or that its
// headers are too large.
type wordsOf struct{ net.Listener }

func (l wordsOf) Accept() (net.Conn, error) {
	nc, err := l.Listener.Accept()
	if err != nil {
		return nil, err
	}
	return &words{Conn: nc}, nil
}

// words is such a connection. One goroutine at a time reads from it.
type words struct {
	net.Conn
	begun bool // something was read
	tls   bool // it was what TLS begins with
}

// tlsHandshake is what TLS begins with, and no request. Its client waits for an answer, and
// what it has sent mostly has no end of a line, for which net/http would wait as long as a
// header may take.
const tlsHandshake = 0x16

var errTLS = errors.New("this listener has no TLS: write http://, not https://")

// Read reads for net/http, which answers an error of ours by 400.
func (w *words) Read(b []byte) (int, error) {
	if w.tls {
		return 0, errTLS
	}
	n, err := w.Conn.Read(b)
	if n > 0 && !w.begun {
		w.begun = true
		if b[0] == tlsHandshake {
			w.tls = true
			return 0, errTLS
		}
	}
	return n, err
}

// CloseWrite is what net/http ends such a connection by, so that the client can read why.
func (w *words) CloseWrite() error {
	if half, ok := w.Conn.(interface{ CloseWrite() error }); ok {
		return half.CloseWrite()
	}
	return nil
}

// plainHead follows the status line of what net/http writes past every handler, each in
// one write (errorHeaders in net/http/server.go). No answer of ours is so: each has a date.
var plainHead = []byte("Content-Type: text/plain; charset=utf-8\r\nConnection: close\r\n\r\n")

// notExpected follows the status line of what it answers to an Expect that is not
// 100-continue (sendExpectationFailed). Part of an answer of ours, with whatever text
// from outside, is never so: in that a line ends with the size of a chunk, and nothing
// else.
var notExpected = []byte("Connection: close\r\nDate: ")

func (w *words) Write(b []byte) (int, error) {
	line, rest, _ := bytes.Cut(b[:min(len(b), 512)], []byte("\r\n"))
	if !bytes.HasPrefix(rest, plainHead) && !(bytes.HasPrefix(rest, notExpected) && isNotExpected(line)) {
		return w.Conn.Write(b)
	}
	p := refusedBy(line)
	if w.tls {
		p = problem.New(problem.InvalidRequest, "%v", errTLS)
	}
	if _, err := w.Conn.Write(raw(p)); err != nil {
		return 0, err
	}
	if w.tls {
		w.linger()
	}
	return len(b), nil
}

// linger lets the client read our answer while it still sends. Closing at once would
// reset the connection, and the answer would be lost with it.
func (w *words) linger() {
	const most, longest = 1 << 20, time.Second
	if w.CloseWrite() == nil && w.SetReadDeadline(time.Now().Add(longest)) == nil {
		_, _ = io.CopyN(io.Discard, w.Conn, most) // ends when the client has read and closed
	}
}

func isNotExpected(line []byte) bool {
	return bytes.Equal(line, []byte("HTTP/1.1 417 Expectation Failed")) || bytes.Equal(line, []byte("HTTP/1.0 417 Expectation Failed"))
}

// refusedBy is the problem of a status line of net/http, as "HTTP/1.1 400 Bad Request".
func refusedBy(line []byte) *problem.Problem {
	_, said, _ := strings.Cut(string(line), " ")
	code, reason, _ := strings.Cut(said, " ")
	switch code {
	case "431":
		return problem.New(problem.HeadersTooLarge, "the headers have more than %d bytes", mostHeader).WithLimit(mostHeader)
	case "501":
		return problem.New(problem.InvalidRequest, "of Transfer-Encoding only chunked is known")
	case "417":
		return problem.New(problem.InvalidRequest, "of Expect only 100-continue is known")
	}
	_, reason, _ = strings.Cut(reason, ": ")
	if reason == "" {
		reason = "a line of the header is not HTTP/1.1"
	}
	return problem.New(problem.InvalidRequest, "%s", reason)
}

// raw is an answer in one piece, of a connection that is closed after it.
func raw(p *problem.Problem) []byte {
	var b bytes.Buffer
	body := p.JSON()
	fmt.Fprintf(&b, "HTTP/1.1 %d %s\r\nContent-Type: %s\r\nContent-Length: %d\r\nX-Content-Type-Options: nosniff\r\nCache-Control: no-store\r\nConnection: close\r\n",
		p.Status, http.StatusText(p.Status), problem.ContentType, len(body))
	if p.RetryAfter > 0 {
		fmt.Fprintf(&b, "Retry-After: %d\r\n", p.RetryAfterSeconds())
	}
	fmt.Fprintf(&b, "\r\n%s", body)
	return b.Bytes()
}
