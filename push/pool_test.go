package push

import (
	"context"
	"errors"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"crypto/tls"
	"crypto/x509"
)

func deliver(t *testing.T, c *Client) Answer {
	t.Helper()
	return c.Deliver(within(t, time.Minute), aCall("x"))
}

// exchange makes a call on that connection.
func exchange(t *testing.T, c *Client, cn *conn) Answer {
	t.Helper()
	ctx, call := within(t, time.Minute), aCall("x")
	req := c.newRequest(call)
	defer req.free()
	cn.wire.begin(ctx, time.Time{})
	return c.exchange(ctx, cn, req, call)
}

func wantDone(t *testing.T, a Answer) {
	t.Helper()
	if a.Disposition != Done {
		t.Fatalf("got %v: %v", a.Disposition, a.Err)
	}
}

func TestConnectionsAreReused(t *testing.T) {
	h := serve(t, text(ok))
	c := newClient(t, Options{URL: h.url()})
	for range 5 {
		wantDone(t, deliver(t, c))
	}
	if n := h.conns.Load(); n != 1 {
		t.Errorf("%d connections for 5 calls", n)
	}
}

func TestConnectionIsNotReusedAfter(t *testing.T) {
	for name, answer := range map[string]string{
		"connection: close":               "HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 2\r\n\r\nok",
		"a body left unread":              "HTTP/1.1 200 OK\r\nContent-Length: 70000\r\n\r\n" + strings.Repeat("a", 70000),
		"a body whose end is yet to come": "HTTP/1.1 200 OK\r\nContent-Length: 70000\r\n\r\n" + strings.Repeat("a", maxBody),
		"a header that took more memory":  "HTTP/1.1 200 OK\r\nContent-Length: 0\r\nA: " + strings.Repeat("a", 2*bufferSize) + "\r\n\r\n",
		"more than it said":               ok + "HTTP/1.1 500 Forged\r\nContent-Length: 0\r\n\r\n",
	} {
		t.Run(name, func(t *testing.T) {
			h := serve(t, text(answer))
			c := newClient(t, Options{URL: h.url()})
			wantDone(t, deliver(t, c))
			wantDone(t, deliver(t, c))
			if n := h.conns.Load(); n != 2 {
				t.Errorf("%d connections for 2 calls", n)
			}
		})
	}
}

// What a handler switches to another protocol carries no further call.
func TestSwitchedConnectionIsNotReused(t *testing.T) {
	h := serve(t, text("HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: x\r\n\r\n"))
	c := newClient(t, Options{URL: h.url()})
	for range 2 {
		if a := deliver(t, c); a.Disposition != Retry || a.Status != 101 {
			t.Errorf("%+v", a)
		}
	}
	if n := h.conns.Load(); n != 2 {
		t.Errorf("%d connections for 2 calls", n)
	}
}

// A handler that closes idle connections costs neither an attempt nor a second
// call.
func TestConnectionClosedWhileIdle(t *testing.T) {
	h := serve(t, text(ok))
	c := newClient(t, Options{URL: h.url()})
	for i := range 20 {
		wantDone(t, deliver(t, c))
		if c.pool.idle[0].stale() {
			t.Fatal("a live connection counts as closed")
		}
		h.closeConns()
		if !c.pool.idle[0].stale() {
			t.Fatal("a closed connection counts as alive")
		}
		if n := h.calls.Load(); n != int32(i+1) {
			t.Fatalf("%d calls after %d messages", n, i+1)
		}
	}
}

// The same, when the end of the connection is not yet seen as the call is
// written: the connection is closed after the check.
func TestConnectionClosedInTheRace(t *testing.T) {
	h := serve(t, text(ok))
	c := newClient(t, Options{URL: h.url()})
	for i := range 20 {
		wantDone(t, deliver(t, c))
		cn := c.pool.pop()
		cn.reused = true
		h.closeConns()
		got := exchange(t, c, cn)
		if got.Disposition != Unreachable || !errors.Is(got.Err, errNotTaken) {
			t.Fatalf("round %d: %v, %v", i, got.Disposition, got.Err)
		}
	}
}

// quiet answers, once, about a connection on which nothing happens, so that a closed
// one looks alive.
type quiet struct {
	syscall.RawConn
	other syscall.RawConn
}

func (q *quiet) Control(f func(fd uintptr)) error {
	about := q.other
	q.other = q.RawConn
	return about.Control(f)
}

func TestDeliverConnectsAgainOnlyForAKeptConnection(t *testing.T) {
	h := serve(t, text(ok))
	c := newClient(t, Options{URL: h.url()})
	alive, err := newClient(t, Options{URL: serve(t, text(ok)).url()}).pool.dial(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer alive.Close()
	wantDone(t, deliver(t, c))
	cn := c.pool.pop()
	h.closeConns()
	cn.wire.raw = &quiet{cn.wire.raw, alive.wire.raw}
	c.pool.put(cn)
	wantDone(t, deliver(t, c))
	if n := h.calls.Load(); n != 2 {
		t.Errorf("%d calls for 2 messages", n)
	}
}

// A reset of a new connection before it took anything, as a proxy without a
// handler behind it does.
func TestResetBeforeTheCall(t *testing.T) {
	h := serve(t, text(ok))
	c := newClient(t, Options{URL: h.url()})
	cn, err := c.pool.dial(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for h.conns.Load() == 0 {
		time.Sleep(time.Millisecond)
	}
	h.resetConns()
	got := exchange(t, c, cn)
	if got.Disposition != Unreachable {
		t.Errorf("got %v, %v", got.Disposition, got.Err)
	}
}

func TestHandlerThatDiesAtWorkCostsAnAttempt(t *testing.T) {
	dies := false
	h := serve(t, func(c *net.TCPConn, req *http.Request) bool {
		if !dies {
			dies = true
			return text(ok)(c, req)
		}
		time.Sleep(5 * time.Millisecond) // shorter than a delayed acknowledgement
		_ = c.SetLinger(0)
		return false
	})
	c := newClient(t, Options{URL: h.url()})
	wantDone(t, deliver(t, c))
	if got := deliver(t, c); got.Disposition != Retry || got.Code() != "broken" {
		t.Errorf("got %v, %v", got.Disposition, got.Err)
	}
	if n := h.calls.Load(); n != 2 {
		t.Errorf("%d calls for 2 messages", n)
	}
}

func TestUnreachable(t *testing.T) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	refused := "http://" + ln.Addr().String()
	ln.Close()
	for name, url := range map[string]string{
		"connection refused": refused,
		"name not found":     "http://no-such-host.invalid/",
		"TLS to plain HTTP":  strings.Replace(serve(t, text(ok)).url(), "http:", "https:", 1),
	} {
		t.Run(name, func(t *testing.T) {
			got := deliver(t, newClient(t, Options{URL: url}))
			if got.Disposition != Unreachable || got.Code() != "unreachable" {
				t.Errorf("got %v, %v", got.Disposition, got.Err)
			}
		})
	}
}

func TestContextEndsCalls(t *testing.T) {
	entered := make(chan struct{}, 1)
	h := serve(t, func(c *net.TCPConn, _ *http.Request) bool {
		entered <- struct{}{}
		var b [1]byte
		_, _ = c.Read(b[:])
		return false
	})
	c := newClient(t, Options{URL: h.url()})
	ctx, cancel := context.WithCancel(t.Context())
	go func() { <-entered; cancel() }()
	if got := c.Deliver(ctx, aCall("x")); got.Disposition != Retry || !errors.Is(got.Err, context.Canceled) {
		t.Errorf("cancelled at work: %v, %v", got.Disposition, got.Err)
	}
	if got := c.Deliver(ctx, aCall("x")); got.Disposition != Unreachable {
		t.Errorf("cancelled before: %v, %v", got.Disposition, got.Err)
	}
	if n := h.calls.Load(); n != 1 {
		t.Errorf("%d calls", n)
	}
}

func TestHTTPS(t *testing.T) {
	var mu sync.Mutex
	calls := 0
	s := httptest.NewTLSServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {
		mu.Lock()
		defer mu.Unlock()
		calls++
	}))
	defer s.Close()
	roots := x509.NewCertPool()
	roots.AddCert(s.Certificate())
	c := newClient(t, Options{URL: s.URL, TLS: &tls.Config{RootCAs: roots}})
	wantDone(t, deliver(t, c))
	wantDone(t, deliver(t, c))
	if calls != 2 {
		t.Errorf("%d calls", calls)
	}
	if got := deliver(t, newClient(t, Options{URL: s.URL})); got.Disposition != Unreachable {
		t.Errorf("unknown authority: %v, %v", got.Disposition, got.Err)
	}
}

func TestURLs(t *testing.T) {
	tests := []struct {
		url             string
		local, remotely bool
	}{
		{"http://127.0.0.1:8080/on-order", true, true},
		{"http://[::1]:8080", true, true},
		{"https://localhost/x?y=z", true, true},
		{"http://10.1.2.3/", false, true},
		{"http://169.254.169.254/latest", false, false},
		{"http://[fe80::1]/", false, false},
		{"http://[fd00:ec2::254]/", false, false},
		{"http://[::ffff:169.254.169.254]/", false, false},
		{"http://0.0.0.0/", false, false},
		{"ftp://127.0.0.1/", false, false},
		{"/on-order", false, false},
		{"http:///x", false, false},
		{"http://user:secret@127.0.0.1/", false, false},
		{"file:///etc/passwd", false, false},
		{"", false, false},
	}
	for _, tt := range tests {
		_, err := New(Options{URL: tt.url})
		_, remoteErr := New(Options{URL: tt.url, Remote: true})
		if (err == nil) != tt.local || (remoteErr == nil) != tt.remotely {
			t.Errorf("%q: %v; remote: %v", tt.url, err, remoteErr)
		}
		if err != nil && strings.Contains(err.Error(), "secret") {
			t.Errorf("%v shows the password", err)
		}
	}
}

// The address is checked after the name was resolved, on the very connection.
func TestNameThatResolvesElsewhereIsNotConnectedTo(t *testing.T) {
	h := serve(t, text(ok))
	c := newClient(t, Options{URL: h.url()})
	c.pool.addr = "169.254.169.254:80"
	got := deliver(t, c)
	if got.Disposition != Unreachable || !errors.Is(got.Err, errForbidden) {
		t.Errorf("got %v, %v", got.Disposition, got.Err)
	}
}
