package admin

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/remora-mq/remora/internal/problem"
)

// dial opens a connection that sends nothing.
func dial(t *testing.T, addr string) net.Conn {
	t.Helper()
	nc, err := new(net.Dialer).DialContext(t.Context(), "tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = nc.Close() })
	if err := nc.SetDeadline(time.Now().Add(time.Minute)); err != nil {
		t.Fatal(err)
	}
	return nc
}

// answered reads an answer.
func answered(nc net.Conn) (answer, error) {
	res, err := http.ReadResponse(bufio.NewReader(nc), nil)
	if err != nil {
		return answer{}, err
	}
	body, err := io.ReadAll(res.Body)
	return answer{res.StatusCode, res.Header, string(body)}, errors.Join(err, res.Body.Close())
}

// exchange sends a request and reads the answer.
func exchange(t *testing.T, nc net.Conn, line string) answer {
	t.Helper()
	if _, err := io.WriteString(nc, line+" HTTP/1.1\r\nHost: localhost\r\n\r\n"); err != nil {
		t.Fatal(err)
	}
	a, err := answered(nc)
	if err != nil {
		t.Fatalf("%s: %v", line, err)
	}
	return a
}

// hungUp waits until the server has closed a connection.
func hungUp(t *testing.T, nc net.Conn) {
	t.Helper()
	if n, err := nc.Read(make([]byte, 1)); n != 0 || errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("the connection goes on: %d bytes, %v", n, err)
	}
}

// TestIdleConnectionsKeepNoProbeOut opens many more connections than are held: each
// further one takes the place of the one that has waited longest.
func TestIdleConnectionsKeepNoProbeOut(t *testing.T) {
	s := NewHealth(NewConditions(), prometheus.NewRegistry(), nil)
	s.conns.most = 8
	addr := serve(t, s)
	used := dial(t, addr)
	if res := exchange(t, used, "GET /livez"); res.status != 200 {
		t.Fatalf("/livez is %d", res.status)
	}
	const many = 100
	silent := make([]net.Conn, many)
	for i := range silent {
		silent[i] = dial(t, addr)
	}
	if res := get(t, "GET", addr, "/livez"); res.status != 200 {
		t.Errorf("beside %d connections /livez is %d", many, res.status)
	}
	hungUp(t, used)
	for _, nc := range silent[:many-8] {
		hungUp(t, nc)
	}
	if res := exchange(t, silent[many-1], "GET /livez"); res.status != 200 {
		t.Errorf("the last one is answered %d", res.status)
	}
	s.conns.mu.Lock()
	defer s.conns.mu.Unlock()
	if n := len(s.conns.waiting); n > 8 {
		t.Errorf("%d connections are held", n)
	}
}

// TestBusyConnectionsAreKept has as many requests run as connections are held: one more
// is refused, and they are answered.
func TestBusyConnectionsAreKept(t *testing.T) {
	begun, release := make(chan struct{}), make(chan struct{})
	s := newServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		begun <- struct{}{}
		<-release
		w.WriteHeader(http.StatusNoContent)
	}), newConns(2), nil)
	addr := serve(t, s)
	answers := make(chan answer, 2)
	for range 2 {
		nc := dial(t, addr)
		if _, err := io.WriteString(nc, "GET / HTTP/1.1\r\nHost: localhost\r\n\r\n"); err != nil {
			t.Fatal(err)
		}
		go func() {
			a, _ := answered(nc) // without one its status is 0
			answers <- a
		}()
		<-begun
	}
	if a, err := answered(dial(t, addr)); err != nil || a.status != 503 || a.header.Get("Retry-After") == "" || a.header.Get("Content-Type") != problem.ContentType {
		t.Errorf("one more is answered %v, %v", a, err)
	}
	close(release)
	for range 2 {
		if got := <-answers; got.status != http.StatusNoContent {
			t.Errorf("one that was busy is answered %d", got.status)
		}
	}
}

// TestSlowReadersKeepNoProbeOut has as many clients as connections are held ask for more
// than any socket takes, and read nothing of it: a probe takes the place of the one that
// has had the longest time.
func TestSlowReadersKeepNoProbeOut(t *testing.T) {
	metrics := prometheus.NewRegistry()
	size := prometheus.NewGaugeVec(prometheus.GaugeOpts{Name: "size", Help: "Of what."}, []string{"of"})
	metrics.MustRegister(size)
	for i := range 1000 {
		size.WithLabelValues(fmt.Sprint(i, strings.Repeat("x", 16<<10))).Set(1)
	}
	s := NewHealth(NewConditions(), metrics, nil)
	s.conns.most = 2
	addr := serve(t, s)
	readers := make([]net.Conn, 2)
	for i := range readers {
		readers[i] = dial(t, addr)
		if _, err := io.WriteString(readers[i], "GET /metrics HTTP/1.1\r\nHost: localhost\r\n\r\n"); err != nil {
			t.Fatal(err)
		}
		if _, err := readers[i].Read(make([]byte, 1)); err != nil { // it is being answered
			t.Fatal(err)
		}
	}
	for range 3 {
		if res := get(t, "GET", addr, "/livez"); res.status != 200 {
			t.Errorf("beside slow readers /livez is %d", res.status)
		}
	}
	if _, err := io.Copy(io.Discard, readers[0]); errors.Is(err, os.ErrDeadlineExceeded) {
		t.Error("the slowest reader is not cut off")
	}
}

// TestWhatIsNoRequestIsAProblem sends what net/http would refuse in words of its own.
func TestWhatIsNoRequestIsAProblem(t *testing.T) {
	large := "GET /livez HTTP/1.1\r\nHost: localhost\r\nA: " + strings.Repeat("a", 32<<10) + "\r\n\r\n"
	for _, c := range []struct {
		says, sent string
		status     int
	}{
		{"not HTTP/1.1", "nonsense\r\n\r\n", 400},
		{"required Host header", "GET /livez HTTP/1.1\r\n\r\n", 400},
		{"not HTTP/1.1", "GET /livez HTTP/1.1\r\nHost: localhost\r\nA: \x00\r\n\r\n", 400},
		{"protocol version", "GET /livez HTTP/3.0\r\nHost: localhost\r\n\r\n", 400},
		{"only chunked", "POST /livez HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: gzip\r\n\r\n", 400},
		{"100-continue", "GET /livez HTTP/1.0\r\nHost: localhost\r\nExpect: more\r\n\r\n", 400},
		{"100-continue", "GET /livez HTTP/1.1\r\nHost: localhost\r\nExpect: more\r\n\r\n", 400},
		{"16384 bytes", large, 431},
	} {
		nc := dial(t, serve(t, NewHealth(NewConditions(), prometheus.NewRegistry(), nil)))
		if _, err := io.WriteString(nc, c.sent); err != nil {
			t.Fatal(err)
		}
		a, err := answered(nc)
		if err != nil {
			t.Errorf("%.40q: %v", c.sent, err)
			continue
		}
		var doc struct {
			Code, Detail string
			Status       int
		}
		if err := json.Unmarshal([]byte(a.body), &doc); err != nil || a.header.Get("Content-Type") != problem.ContentType {
			t.Errorf("%.40q is answered %s %s: %v", c.sent, a.header.Get("Content-Type"), a.body, err)
		}
		if a.status != c.status || doc.Status != c.status || !strings.Contains(doc.Detail, c.says) {
			t.Errorf("%.40q is answered %d %+v, want %d and %q", c.sent, a.status, doc, c.status, c.says)
		}
	}
}

// TestWhatIsNoPathIsAProblem asks for what net/http would answer by itself.
func TestWhatIsNoPathIsAProblem(t *testing.T) {
	addr := serve(t, NewHealth(NewConditions(), prometheus.NewRegistry(), nil))
	for _, line := range []string{"GET //livez", "GET /x/../livez", "GET /livez/", "GET /./livez", "OPTIONS *"} {
		if a := exchange(t, dial(t, addr), line); a.status != 404 || a.header.Get("Content-Type") != problem.ContentType {
			t.Errorf("%s is %d %s", line, a.status, a.header.Get("Content-Type"))
		}
	}
}
