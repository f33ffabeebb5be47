package httpapi_test

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/remora-mq/remora/httpapi"
	"github.com/remora-mq/remora/spool"
)

// dial opens a connection that ends with the test.
func (l *listener) dial() (net.Conn, *bufio.Reader) {
	l.t.Helper()
	c, err := net.Dial("tcp", l.addr)
	if err != nil {
		l.t.Fatal(err)
	}
	l.t.Cleanup(func() { c.Close() })
	if err := c.SetDeadline(time.Now().Add(time.Minute)); err != nil {
		l.t.Fatal(err)
	}
	return c, bufio.NewReader(c)
}

// roundTrip sends a request on an open connection and reads its answer.
func (l *listener) roundTrip(c net.Conn, r *bufio.Reader, sent string) *answer {
	l.t.Helper()
	if _, err := io.WriteString(c, sent); err != nil {
		l.t.Fatal(err)
	}
	return l.next(r)
}

// next reads the next answer of a connection.
func (l *listener) next(r *bufio.Reader) *answer {
	l.t.Helper()
	res, err := http.ReadResponse(r, nil)
	if err != nil {
		l.t.Fatal(err)
	}
	return readAnswer(l.t, res)
}

const one = head + "Content-Length: 1\r\n\r\nx"

// TestNothingIsKeptOfABuffer: what the spool got of a request does not change
// when fasthttp uses the request's buffers again.
func TestNothingIsKeptOfABuffer(t *testing.T) {
	const conns, each = 64, 20
	l := start(t, httpapi.Options{})
	var clients sync.WaitGroup
	for n := range conns {
		clients.Go(func() {
			c, r := l.dial()
			for i := range each {
				text := fmt.Sprintf("%02d-%04d-", n, i)
				body := strings.Repeat(text, 1+(n*each+i)%300)
				res := l.roundTrip(c, r, fmt.Sprintf("POST /v1/topics/t%s/messages?prop.q=%s HTTP/1.1\r\nHost: localhost\r\nMQ-Tag: %s\r\nMQ-Key: %s\r\n"+
					"MQ-Ordering-Key: %s\r\nMQ-Property: p=%s\r\nIdempotency-Key: %s\r\nContent-Type: %s\r\nContent-Length: %d\r\n\r\n%s",
					text, text, text, text, text, text, text, text, len(body), body))
				if res.status != 202 {
					t.Errorf("connection %d, request %d: %d", n, i, res.status)
				}
			}
		})
	}
	clients.Wait()
	drafts := l.spool.stored()
	if len(drafts) != conns*each {
		t.Fatalf("%d stored, want %d", len(drafts), conns*each)
	}
	for _, d := range drafts {
		checkWhole(t, d)
	}
}

// checkWhole asserts that all fields of a draft are of one request.
func checkWhole(t *testing.T, d spool.Draft) {
	t.Helper()
	text := strings.TrimPrefix(d.Topic, "t")
	want := props("p", text, "q", text)
	if d.Tag != text || len(d.Keys) != 1 || d.Keys[0] != text || d.OrderingKey != text || d.ContentType != text || d.DedupeKey != text ||
		fmt.Sprint(d.Properties) != fmt.Sprint(want) || strings.ReplaceAll(string(d.Body), text, "") != "" {
		t.Errorf("a message of two requests: %q %q %q %q %q %q %v %.40q", d.Topic, d.Tag, d.Keys, d.OrderingKey, d.ContentType, d.DedupeKey, d.Properties, d.Body)
	}
}

// TestEveryRequestHasItsOwnTarget: a connection keeps the target of its last request,
// for those that are the same byte for byte.
func TestEveryRequestHasItsOwnTarget(t *testing.T) {
	l := start(t, httpapi.Options{})
	c, r := l.dial()
	for i, one := range []struct {
		target, topic, tag string
		status             int
	}{
		{"/v1/topics/a/messages", "a", "", 202},
		{"/v1/topics/a/messages", "a", "", 202},
		{"/v1/topics/b/messages", "b", "", 202},
		{"/v1/topics/a/messages?tag=x", "a", "x", 202},
		{"/v1/topics/a/messages?tag=y", "a", "y", 202},
		{"/v1/topics/a/messages", "a", "", 202},
		{"/v1/topics/%/messages", "", "", 400},
	} {
		res := l.roundTrip(c, r, fmt.Sprintf("POST %s HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1\r\n\r\nx", one.target))
		if res.status != one.status {
			t.Fatalf("request %d to %s: %d %s", i, one.target, res.status, res.raw)
		}
		if d := l.spool.last(); one.status == 202 && (d.Topic != one.topic || d.Tag != one.tag) {
			t.Errorf("request %d to %s is for topic %q with tag %q", i, one.target, d.Topic, d.Tag)
		}
	}
}

// TestSpoolMayKeepWhatTheClientGaveUp: the answer comes before the spool has
// finished, and the next requests on the connection must not write into what
// the spool still reads.
func TestSpoolMayKeepWhatTheClientGaveUp(t *testing.T) {
	ln, err := httpapi.Listen("127.0.0.1:0", "")
	if err != nil {
		t.Fatal(err)
	}
	late := &lateSpool{fakeSpool: newFakeSpool()}
	l := startServer(t, ln, httpapi.Options{AppendTimeout: 5 * time.Millisecond}, late, late.fakeSpool)
	c, r := l.dial()
	for i := range 10 {
		body := strings.Repeat(fmt.Sprint(i), 3000)
		res := l.roundTrip(c, r, fmt.Sprintf("POST /v1/topics/t%d/messages HTTP/1.1\r\nHost: localhost\r\nContent-Length: %d\r\n\r\n%s", i, len(body), body))
		if res.status != 503 {
			t.Errorf("answered %d, want 503", res.status)
		}
	}
	for i, d := range late.kept() {
		if want := strings.Repeat(fmt.Sprint(i), 3000); string(d.Body) != want || d.Topic != fmt.Sprintf("t%d", i) {
			t.Errorf("draft %d has become %q %.20q", i, d.Topic, d.Body)
		}
	}
}

// lateSpool keeps drafts, as they were handed to it, and never answers in time.
type lateSpool struct {
	*fakeSpool
	got [][]spool.Draft
}

func (s *lateSpool) kept() []spool.Draft {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Concat(s.got...)
}

func TestHalfOpenConnectionsDoNotStarve(t *testing.T) {
	const half = 500
	l := start(t, httpapi.Options{ReadTimeout: time.Minute})
	for i := range half {
		c, _ := l.dial()
		if _, err := io.WriteString(c, head[:1+i%len(head)]); err != nil {
			t.Fatal(err)
		}
	}
	for range 50 {
		l.accepted(l.do("POST", orders, "x"))
	}
}

func TestSlowRequestsEnd(t *testing.T) {
	l := start(t, httpapi.Options{ReadTimeout: 50 * time.Millisecond})
	for name, sent := range map[string]string{
		"header": head, "body": head + "Content-Length: 5\r\n\r\nx", "large body": head + "Content-Length: 20000\r\n\r\n" + strings.Repeat("x", 10_000),
		"chunks": head + "Transfer-Encoding: chunked\r\n\r\n5\r\nx",
	} {
		c, r := l.dial()
		if res := l.roundTrip(c, r, sent); res.status != 408 || !res.ends {
			t.Errorf("slow %s: %d, close %t; want 408 and the end", name, res.status, res.ends)
		}
		if _, err := r.ReadByte(); err != io.EOF {
			t.Errorf("slow %s: the connection is still open: %v", name, err)
		}
	}
	if n := len(l.spool.stored()); n != 0 {
		t.Errorf("%d messages stored", n)
	}
}

// TestConnectionIsParkedAndTakenUpAgain also shows that nobody's first byte is
// lost on the way.
func TestConnectionIsParkedAndTakenUpAgain(t *testing.T) {
	l := start(t, httpapi.Options{})
	c, r := l.dial()
	for range 2 {
		if res := l.roundTrip(c, r, one); res.status != 202 || res.ends {
			t.Fatalf("answered %d, close %t", res.status, res.ends)
		}
	}
	waitParked(t, l, 1)
	if res := l.roundTrip(c, r, one[:1]+one[1:]); res.status != 202 {
		t.Errorf("after parking: %d", res.status)
	}
}

func waitParked(t *testing.T, l *listener, n int) {
	t.Helper()
	eventually(t, fmt.Sprintf("%d connections are parked", n), func() bool { return l.server.Parked() == n })
}

// eventually waits for what gives no signal, as within fasthttp.
func eventually(t *testing.T, what string, is func() bool) {
	t.Helper()
	for late := time.Now().Add(time.Minute); !is(); time.Sleep(time.Millisecond) {
		if time.Now().After(late) {
			t.Fatalf("after a minute it is not so that %s", what)
		}
	}
}

// TestIdleConnectionsCostLittle: a parked one holds no buffer for a header.
func TestIdleConnectionsCostLittle(t *testing.T) {
	const conns = 400
	l := start(t, httpapi.Options{})
	before := heap()
	for range conns {
		c, r := l.dial()
		l.roundTrip(c, r, one)
	}
	waitParked(t, l, conns)
	// The client's side has a bufio.Reader of 4 KiB and the fake keeps messages.
	if each := (heap() - before) / conns; each > 16<<10 {
		t.Errorf("an idle connection holds %d bytes", each)
	}
}

func heap() int64 {
	var m runtime.MemStats
	runtime.GC()
	runtime.GC() // the first moves pooled buffers to the victims, the second frees them
	runtime.ReadMemStats(&m)
	return int64(m.HeapAlloc)
}

func TestIdleConnectionsEnd(t *testing.T) {
	l := start(t, httpapi.Options{IdleTimeout: 20 * time.Millisecond})
	for _, sent := range []string{"", one} {
		_, r := l.dial()
		for began := time.Now(); sent != ""; { // on a connection that has not ended for being idle before that
			if time.Since(began) > time.Minute {
				t.Fatal("each connection ends before it has brought a request")
			}
			var c net.Conn
			c, r = l.dial()
			if _, err := io.WriteString(c, sent); err != nil {
				continue
			}
			if res, err := http.ReadResponse(r, nil); err == nil {
				readAnswer(t, res)
				break
			}
		}
		if rest, err := io.ReadAll(r); err != nil || len(rest) != 0 {
			t.Errorf("after %q: %q, %v; want the end without a word", sent, rest, err)
		}
	}
}

func TestTooManyConnections(t *testing.T) {
	l := start(t, httpapi.Options{MaxConns: 2})
	for range 2 {
		c, r := l.dial()
		l.roundTrip(c, r, one)
	}
	_, r := l.dial()
	res := l.next(r)
	if res.status != 503 || res.header.Get("Retry-After") == "" || !res.ends {
		t.Errorf("the third connection: %d %v", res.status, res.header)
	}
}

func TestIngestBudget(t *testing.T) {
	l := start(t, httpapi.Options{MaxMessage: 1000, MaxBatchBytes: 1000, IngestBudget: 1000})
	entered, leave := make(chan struct{}), make(chan struct{})
	l.spool.hold = func(context.Context) error {
		entered <- struct{}{}
		<-leave
		return nil
	}
	answers := make(chan *answer, 1)
	go func() { answers <- l.do("POST", orders, strings.Repeat("x", 900)) }()
	<-entered
	for _, chunked := range []bool{false, true} {
		body := strings.Repeat("y", 200)
		req := l.request("POST", orders, body)
		if chunked {
			req.ContentLength = -1
		}
		a := l.send(req, body)
		if a.status != 503 || a.code() != "busy" {
			t.Errorf("over the budget, chunked %t: %d %s", chunked, a.status, a.raw)
		}
		checkRetryAfter(t, a)
	}
	close(leave)
	l.accepted(<-answers)
	go func() { <-entered }()
	l.accepted(l.do("POST", orders, strings.Repeat("z", 1000))) // everything was given back
}

// TestRefusalReachesAClientThatStillSends: closing at once would reset the
// connection, and the client would see that instead of the 413.
func TestRefusalReachesAClientThatStillSends(t *testing.T) {
	l := start(t, httpapi.Options{MaxMessage: 1000})
	for range 20 {
		a := l.do("POST", orders, strings.Repeat("x", 8<<20))
		if a.status != 413 {
			t.Fatalf("answered %d", a.status)
		}
	}
}

// A body that is too large is refused for its Content-Length, however slowly it
// comes, and one that was not sent yet before it is asked for.
func TestTooLargeIsSaidAtOnce(t *testing.T) {
	l := start(t, httpapi.Options{ReadTimeout: time.Minute})
	for name, sent := range map[string]string{
		"three bytes": "Content-Length: 9999999\r\n\r\nxxx",
		"expect 100":  "Expect: 100-continue\r\nContent-Length: 9999999\r\n\r\n",
	} {
		t.Run(name, func(t *testing.T) {
			c, answers := l.dial()
			if _, err := io.WriteString(c, head+sent); err != nil {
				t.Fatal(err)
			}
			res, err := http.ReadResponse(answers, nil)
			if err != nil {
				t.Fatal(err)
			}
			a := readAnswer(t, res)
			if l.refused(a, 413, "message-too-large"); a.json["stored"] != false {
				t.Errorf("answered %s", a.raw)
			}
		})
	}
}

func TestPanicIsAnsweredAndLogged(t *testing.T) {
	l := start(t, httpapi.Options{})
	l.spool.hold = func(context.Context) error { panic("a bug") }
	a := l.do("POST", orders, "x")
	l.refused(a, 500, "internal")
	if a.json["stored"] != "unknown" {
		t.Errorf("stored = %v", a.json["stored"])
	}
	l.spool.hold = nil
	l.accepted(l.do("POST", orders, "x"))
}
