package httpapi_test

import (
	"bufio"
	"bytes"
	"errors"
	"io"
	"log/slog"
	"net"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/remora-mq/remora/httpapi"
)

const (
	canary = "CANARY-8e03978e" // stands in every request, and never in a log
	// smuggled is what a second reader of the bytes would take for a request.
	smuggled = "POST /v1/topics/smuggled/messages HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1\r\n\r\nx"
	head     = "POST /v1/topics/orders/messages HTTP/1.1\r\nHost: localhost\r\nMQ-Key: " + canary + "\r\n"
)

var smuggledLength = strconv.Itoa(len(smuggled))

// TestRawRequests: what two readers could understand differently stores
// nothing, what follows it is not served, and the connection ends.
func TestRawRequests(t *testing.T) {
	cases := []struct {
		name   string
		sent   string
		status []int // of the answers; none: the connection ends without one
		stored int
	}{
		// Well-formed, so that the rest of the table proves something.
		{"one request", head + "Content-Length: 1\r\n\r\nx", []int{202}, 1},
		{"two requests, pipelined", head + "Content-Length: 1\r\n\r\nx" + smuggled, []int{202, 202}, 2},
		{"the last request", head + "Connection: close\r\nContent-Length: 1\r\n\r\nx" + smuggled, []int{202}, 1},
		{"the last request, in capitals", head + "Connection: Close\r\nContent-Length: 1\r\n\r\nx" + smuggled, []int{202}, 1},
		{"the last request, in a list", head + "Connection: TE, close\r\nContent-Length: 1\r\n\r\nx" + smuggled, []int{202}, 1},
		{"the last request, in two lists", head + "Connection: close\r\nConnection: TE\r\nContent-Length: 1\r\n\r\nx" + smuggled, []int{202}, 1},
		{"the last request, offered", head + "Connection: Close\r\nExpect: 100-continue\r\nContent-Length: 1\r\n\r\nx" + smuggled, []int{100, 202}, 1},
		{"not the last request", head + "Connection: closed\r\nContent-Length: 1\r\n\r\nx" + smuggled, []int{202, 202}, 2},
		{"chunked", head + "Transfer-Encoding: chunked\r\n\r\n1\r\nx\r\n0\r\n\r\n", []int{202}, 1},
		{"chunked, coding in capitals", head + "Transfer-Encoding: CHUNKED\r\n\r\n1\r\nx\r\n0\r\n\r\n", []int{202}, 1},
		{"chunk extension", head + "Transfer-Encoding: chunked\r\n\r\n1;a=b\r\nx\r\n0\r\n\r\n", []int{202}, 1},
		{"expect 100", head + "Expect: 100-continue\r\nContent-Length: 1\r\n\r\nx", []int{100, 202}, 1},
		{"HTTP/1.0", "POST /v1/topics/orders/messages HTTP/1.0\r\nHost: localhost\r\nContent-Length: 1\r\n\r\nx", []int{202}, 1},
		{"absolute form", "POST http://localhost/v1/topics/orders/messages HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1\r\n\r\nx", []int{202}, 1},
		{"empty line first", "\r\n" + head + "Content-Length: 1\r\n\r\nx", []int{202}, 1},
		{"a URL in the query", "POST /v1/topics/orders/messages?prop.u=http://a//b HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1\r\n\r\nx", []int{202}, 1},

		// Both framings: fasthttp 1.73 alone serves the first and then the smuggled one.
		{"CL.TE", head + "Content-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n" + smuggled, []int{400}, 0},
		{"TE.CL", head + "Transfer-Encoding: chunked\r\nContent-Length: 4\r\n\r\n1\r\nx\r\n0\r\n\r\n" + smuggled, []int{400}, 0},
		{"CL.TE, CL covers all", head + "Content-Length: 200\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n" + smuggled, []int{400}, 0},
		{"CL 0 and TE", head + "Content-Length: 0\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nx\r\n0\r\n\r\n" + smuggled, []int{400}, 0},
		{"TE identity and CL", head + "Transfer-Encoding: identity\r\nContent-Length: 1\r\n\r\nx" + smuggled, []int{400}, 0},
		{"TE identity", head + "Transfer-Encoding: identity\r\n\r\nx" + smuggled, []int{400}, 0},
		{"TE gzip, chunked", head + "Transfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n" + smuggled, []int{400}, 0},
		{"TE chunked, identity", head + "Transfer-Encoding: chunked, identity\r\n\r\n0\r\n\r\n" + smuggled, []int{400}, 0},
		{"TE xchunked", head + "Transfer-Encoding: xchunked\r\n\r\n0\r\n\r\n" + smuggled, []int{400}, 0},
		{"TE twice", head + "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n" + smuggled, []int{400}, 0},
		{"TE, blank before the colon", head + "Transfer-Encoding : chunked\r\n\r\n0\r\n\r\n" + smuggled, []int{400}, 0},
		{"TE and CL, blank before the colon", head + "Content-Length: 1\r\nTransfer-Encoding : chunked\r\n\r\n0\r\n\r\n" + smuggled, []int{400}, 0},
		{"TE, tab inside", head + "Transfer-Encoding:\tchunked\x0b\r\n\r\n0\r\n\r\n" + smuggled, []int{400}, 0},
		{"TE folded", head + "Transfer-Encoding:\r\n chunked\r\n\r\n0\r\n\r\n" + smuggled, []int{400}, 0},
		{"TE hidden in a folded line", head + "Content-Length: 1\r\nX: y\r\n Transfer-Encoding: chunked\r\n\r\nx" + smuggled, []int{400}, 0},
		{"TE after a bare LF", head + "Content-Length: 1\r\nX: y\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n" + smuggled, []int{400}, 0},
		{"TE after a bare CR", head + "Content-Length: 1\r\nX: y\rTransfer-Encoding: chunked\r\n\r\nx" + smuggled, []int{400}, 0},
		{"TE in quotes", head + "Transfer-Encoding: \"chunked\"\r\n\r\n0\r\n\r\n" + smuggled, []int{400}, 0},
		{"TE empty", head + "Transfer-Encoding:\r\nContent-Length: 1\r\n\r\nx" + smuggled, []int{400}, 0},
		{"TE in HTTP/1.0", strings.Replace(head, "1.1", "1.0", 1) + "Transfer-Encoding: chunked\r\n\r\n1\r\nx\r\n0\r\n\r\n" + smuggled, []int{400}, 0},

		// Content-Length that two readers could take for two lengths.
		{"CL twice, different", head + "Content-Length: 1\r\nContent-Length: 2\r\n\r\nx" + smuggled, []int{400}, 0},
		{"CL twice, the same", head + "Content-Length: 1\r\nContent-Length: 1\r\n\r\nx" + smuggled, []int{400}, 0},
		{"CL list", head + "Content-Length: 1, 1\r\n\r\nx" + smuggled, []int{400}, 0},
		{"CL with a plus", head + "Content-Length: +1\r\n\r\nx" + smuggled, []int{400}, 0},
		{"CL negative", head + "Content-Length: -1\r\n\r\nx" + smuggled, []int{400}, 0},
		{"CL hexadecimal", head + "Content-Length: 0x1\r\n\r\nx" + smuggled, []int{400}, 0},
		{"CL empty", head + "Content-Length:\r\n\r\nx" + smuggled, []int{400}, 0},
		{"CL with a blank inside", head + "Content-Length: 1 0\r\n\r\nx" + smuggled, []int{400}, 0},
		{"CL beyond 64 bits", head + "Content-Length: 18446744073709551617\r\n\r\nx" + smuggled, []int{400}, 0},
		{"CL folded", head + "Content-Length:\r\n 1\r\n\r\nx" + smuggled, []int{400}, 0},

		// Chunks.
		{"chunk size is no number", head + "Transfer-Encoding: chunked\r\n\r\nz\r\nx\r\n0\r\n\r\n" + smuggled, []int{400}, 0},
		{"chunk size with 0x", head + "Transfer-Encoding: chunked\r\n\r\n0x1\r\nx\r\n0\r\n\r\n" + smuggled, []int{400}, 0},
		{"chunk size negative", head + "Transfer-Encoding: chunked\r\n\r\n-1\r\nx\r\n0\r\n\r\n" + smuggled, []int{400}, 0},
		{"chunk size beyond 64 bits", head + "Transfer-Encoding: chunked\r\n\r\nfffffffffffffffff1\r\nx\r\n0\r\n\r\n" + smuggled, []int{400}, 0},
		{"chunk longer than its size", head + "Transfer-Encoding: chunked\r\n\r\n1\r\nxy\r\n0\r\n\r\n" + smuggled, []int{400}, 0},
		{"chunk line ends in LF", head + "Transfer-Encoding: chunked\r\n\r\n1\nx\r\n0\r\n\r\n" + smuggled, []int{400}, 0},
		{"LF in a chunk extension", head + "Transfer-Encoding: chunked\r\n\r\n1;a\nb\r\nx\r\n0\r\n\r\n" + smuggled, []int{400}, 0},
		{"chunk ends in LF", head + "Transfer-Encoding: chunked\r\n\r\n1\r\nx\n0\r\n\r\n" + smuggled, []int{400}, 0},
		{"trailer section ends in LF", head + "Transfer-Encoding: chunked\r\n\r\n1\r\nx\r\n0\r\n\n" + smuggled, []int{202}, 1},
		{"trailer is no header", head + "Transfer-Encoding: chunked\r\nTrailer: MQ-Tag\r\n\r\n1\r\nx\r\n0\r\nMQ-Tag: t\r\n\r\n" + smuggled, []int{202}, 1},
		{"trailer that frames", head + "Transfer-Encoding: chunked\r\n\r\n1\r\nx\r\n0\r\nContent-Length: 9\r\n\r\n" + smuggled, []int{400}, 0},
		{"chunked, then another", head + "Transfer-Encoding: chunked\r\n\r\n1\r\nx\r\n0\r\n\r\n" + smuggled, []int{202}, 1},
		{"hung up between chunks", head + "Transfer-Encoding: chunked\r\n\r\n1\r\nx\r\n", []int{400}, 0},
		{"hung up before the last CRLF", head + "Transfer-Encoding: chunked\r\n\r\n1\r\nx\r\n0\r\n", []int{400}, 0},
		{"hung up inside a chunk", head + "Transfer-Encoding: chunked\r\n\r\n5\r\nx", []int{400}, 0},
		{"hung up inside the body", head + "Content-Length: 5\r\n\r\nx", []int{400}, 0},
		{"hung up inside a large body", head + "Content-Length: 50000\r\n\r\n" + strings.Repeat("x", 20_000), []int{400}, 0},

		// Request line and header.
		{"no version", "POST /v1/topics/orders/messages\r\n\r\n" + smuggled, []int{400}, 0},
		{"HTTP/0.9", "POST /v1/topics/orders/messages HTTP/0.9\r\nHost: localhost\r\nContent-Length: 1\r\n\r\nx" + smuggled, []int{400}, 0},
		{"HTTP/2.0", "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + smuggled, []int{400}, 0},
		{"HTTP/1.2", strings.Replace(head, "1.1", "1.2", 1) + "Content-Length: 1\r\n\r\nx" + smuggled, []int{400}, 0},
		{"two blanks in the request line", strings.Replace(head, " HTTP", "  HTTP", 1) + "Content-Length: 1\r\n\r\nx" + smuggled, []int{400}, 0},
		{"control character in the target", strings.Replace(head, "orders", "ord\x00ers", 1) + "Content-Length: 1\r\n\r\nx" + smuggled, []int{400}, 0},
		{"fragment in the target", strings.Replace(head, "messages", "messages#a", 1) + "Content-Length: 1\r\n\r\nx" + smuggled, []int{400}, 0},
		{"method with control characters", "PO\x01ST / HTTP/1.1\r\nHost: localhost\r\n\r\n" + smuggled, []int{400}, 0},
		{"TLS", "\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n", []int{400}, 0},
		{"name with a blank", head + "Content Length: 1\r\n\r\nx" + smuggled, []int{400}, 0},
		{"header without a name", head + ": 1\r\nContent-Length: 1\r\n\r\nx" + smuggled, []int{400}, 0},
		{"header without a colon", head + "Content-Length\r\n\r\nx" + smuggled, []int{400}, 0},
		{"NUL in a value", head + "X: a\x00b\r\nContent-Length: 1\r\n\r\nx" + smuggled, []int{400}, 0},
		{"lines end in LF", strings.ReplaceAll(head, "\r\n", "\n") + "Content-Length: 1\n\nx" + smuggled, []int{400}, 0},
		{"header ends in two LF", strings.TrimSuffix(head, "\r\n") + "\n\nContent-Length: 1\r\n\r\nx" + smuggled, []int{400}, 0},
		{"content type twice", head + "Content-Type: a/b\r\nContent-Type: c/d\r\nContent-Length: 1\r\n\r\nx" + smuggled, []int{400}, 0},

		// Host.
		{"no Host", "POST /v1/topics/orders/messages HTTP/1.1\r\nContent-Length: 1\r\n\r\nx" + smuggled, []int{400}, 0},
		{"no Host in HTTP/1.0", "POST /v1/topics/orders/messages HTTP/1.0\r\nContent-Length: 1\r\n\r\nx" + smuggled, []int{421}, 0},
		{"two Hosts", head + "Host: localhost\r\nContent-Length: 1\r\n\r\nx" + smuggled, []int{400}, 0},
		{"foreign Host", strings.Replace(head, "localhost", "evil.example", 1) + "Content-Length: 1\r\n\r\nx" + smuggled, []int{421}, 0},
		{"user in the Host", strings.Replace(head, "localhost", "localhost@evil.example", 1) + "Content-Length: 1\r\n\r\nx" + smuggled, []int{421}, 0},
		{"foreign absolute form", strings.Replace(head, "POST /", "POST http://evil.example/", 1) + "Content-Length: 1\r\n\r\nx" + smuggled, []int{421}, 0},
		{"https absolute form", strings.Replace(head, "POST /", "POST https://localhost/", 1) + "Content-Length: 1\r\n\r\nx" + smuggled, []int{404}, 0},

		// A body that is not read is not the next request.
		{"GET with a body", "GET /v1/status HTTP/1.1\r\nHost: localhost\r\nContent-Length: " + smuggledLength + "\r\n\r\n" + smuggled, []int{200}, 0},
		{"refused before the body", strings.Replace(head, "orders", "a%20b", 1) + "Content-Length: " + smuggledLength + "\r\n\r\n" + smuggled, []int{400}, 0},
		{"refused before the chunks", strings.Replace(head, "orders", "a%20b", 1) + "Transfer-Encoding: chunked\r\n\r\n1\r\nx\r\n0\r\n\r\n" + smuggled, []int{400}, 0},
		{"no such path, with a body", "POST /nothing HTTP/1.1\r\nHost: localhost\r\nContent-Length: " + smuggledLength + "\r\n\r\n" + smuggled, []int{404}, 0},
		{"too large, with a body", head + "Content-Length: 999999999\r\n\r\n" + strings.Repeat(smuggled, 100), []int{413}, 0},
		{"expect 100, too large", head + "Expect: 100-continue\r\nContent-Length: 999999999\r\n\r\n" + strings.Repeat(smuggled, 100), []int{413}, 0},
		{"expect 100, refused before the body", strings.Replace(head, "orders", "a%20b", 1) + "Expect: 100-continue\r\nContent-Length: 1\r\n\r\nx" + smuggled, []int{400}, 0},
		{"expect 100, chunked", head + "Expect: 100-continue\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nx\r\n0\r\n\r\n", []int{100, 202}, 1},
		{"expect 100 of a GET", "GET /v1/status HTTP/1.1\r\nHost: localhost\r\nExpect: 100-continue\r\n\r\n", []int{200}, 0},
		{"expect something else", head + "Expect: 200-ok\r\nContent-Length: 1\r\n\r\nx", []int{202}, 1},
	}
	var logged bytes.Buffer
	l := start(t, httpapi.Options{Log: slog.New(slog.NewJSONHandler(&logged, &slog.HandlerOptions{Level: slog.LevelDebug}))})
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			before := len(l.spool.stored())
			answers := l.raw(c.sent)
			if got := statuses(answers); !slices.Equal(got, c.status) {
				t.Errorf("answered %v, want %v", got, c.status)
			}
			if n := len(l.spool.stored()) - before; n != c.stored {
				t.Errorf("%d messages stored, want %d", n, c.stored)
			}
			for _, d := range l.spool.stored()[before:] {
				if c.stored < 2 && d.Topic == "smuggled" || string(d.Body) != "x" || d.Tag != "" {
					t.Errorf("stored topic %q, body %q, tag %q", d.Topic, d.Body, d.Tag)
				}
			}
			for _, a := range answers {
				if a.status >= 400 && !a.ends {
					t.Errorf("%d leaves the connection open", a.status)
				}
			}
		})
	}
	if strings.Contains(logged.String(), canary) {
		t.Errorf("the log repeats what was sent:\n%s", logged.String())
	}
}

// raw sends bytes as they are, ends its side, and reads answers until the
// server ends its own.
func (l *listener) raw(sent string) []*answer {
	l.t.Helper()
	c, err := net.Dial("tcp", l.addr)
	if err != nil {
		l.t.Fatal(err)
	}
	defer c.Close()
	if err := c.SetDeadline(time.Now().Add(time.Minute)); err != nil {
		l.t.Fatal(err)
	}
	if _, err := io.WriteString(c, sent); err != nil {
		l.t.Fatal(err)
	}
	if err := c.(*net.TCPConn).CloseWrite(); err != nil {
		l.t.Fatal(err)
	}
	return l.readAnswers(bufio.NewReader(c))
}

func (l *listener) readAnswers(r *bufio.Reader) (answers []*answer) {
	l.t.Helper()
	for {
		if _, err := r.Peek(1); err != nil {
			if !isEnd(err) {
				l.t.Errorf("the connection did not end: %v", err)
			}
			return answers
		}
		res, err := http.ReadResponse(r, nil)
		if err != nil {
			l.t.Errorf("not an answer: %v", err)
			return answers
		}
		answers = append(answers, readAnswer(l.t, res))
	}
}

func isEnd(err error) bool {
	return errors.Is(err, io.EOF) || strings.Contains(err.Error(), "reset by peer")
}

func statuses(answers []*answer) (codes []int) {
	for _, a := range answers {
		codes = append(codes, a.status)
	}
	return codes
}
