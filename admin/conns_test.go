package admin

import (
	"bufio"
	"errors"
	"io"
	"net"
	"net/http"
	"os"
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
	if err := nc.SetDeadline(time.Now().Add(20 * time.Second)); err != nil {
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
	held := newConns(8)
	s.http.ConnState = held.changed
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
	held.mu.Lock()
	defer held.mu.Unlock()
	if n := len(held.waiting); n > 8 {
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
	}), nil)
	s.http.ConnState = newConns(2).changed
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

// TestWhatIsNoPathIsAProblem asks for what net/http would answer by itself.
func TestWhatIsNoPathIsAProblem(t *testing.T) {
	addr := serve(t, NewHealth(NewConditions(), prometheus.NewRegistry(), nil))
	for _, line := range []string{"GET //livez", "GET /x/../livez", "GET /livez/", "GET /./livez", "OPTIONS *"} {
		if a := exchange(t, dial(t, addr), line); a.status != 404 || a.header.Get("Content-Type") != problem.ContentType {
			t.Errorf("%s is %d %s", line, a.status, a.header.Get("Content-Type"))
		}
	}
}
