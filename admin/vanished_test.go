package admin

import (
	"bufio"
	"errors"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// readsEvents serves events to one reader, who has read the beginning, and returns its
// connection and what is closed when it is counted no more.
func readsEvents(t *testing.T, e *events) (nc net.Conn, gone <-chan struct{}) {
	t.Helper()
	left := make(chan struct{})
	a := &api{events: e}
	addr := serve(t, newServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		defer close(left)
		a.serveEvents(w, r)
	}), newConns(2), nil))
	nc = dial(t, addr)
	if _, err := io.WriteString(nc, "GET /v1/events HTTP/1.1\r\nHost: localhost\r\n\r\n"); err != nil {
		t.Fatal(err)
	}
	lines := bufio.NewReader(nc)
	for {
		line, err := lines.ReadString('\n')
		if err != nil {
			t.Fatal(err)
		}
		if strings.HasPrefix(line, "id: ") {
			return nc, left
		}
	}
}

// A reader who reads no more is ended when a write to it has taken its time.
func TestReaderWhoStopsReadingIsEnded(t *testing.T) {
	e := newEvents("run", 1)
	e.stalled, e.unheard = time.Second, time.Hour
	_, gone := readsEvents(t, e)
	large := strings.Repeat("x", 64<<10)
	for began := time.Now(); time.Since(began) < 30*time.Second; {
		e.publish("large", large) // until the sockets of both sides are full
		select {
		case <-gone:
			return
		case <-time.After(time.Millisecond):
		}
	}
	t.Error("it is waited for")
}

// A reader that vanishes, whose kernel neither acknowledges anything nor says that it is
// gone, is ended by what was sent to it and not acknowledged.
func TestVanishedReaderIsEnded(t *testing.T) {
	e := newEvents("run", 1)
	e.heartbeat, e.unheard = 50*time.Millisecond, 500*time.Millisecond
	nc, gone := readsEvents(t, e)
	vanish(t, nc)
	select {
	case <-gone:
	case <-time.After(30 * time.Second):
		t.Error("it is waited for")
	}
}

// vanish has the kernel drop all that comes for a connection.
func vanish(t *testing.T, nc net.Conn) {
	t.Helper()
	raw, err := nc.(*net.TCPConn).SyscallConn()
	if err != nil {
		t.Fatal(err)
	}
	drop := unix.SockFilter{Code: unix.BPF_RET | unix.BPF_K}
	var set error
	err = raw.Control(func(fd uintptr) {
		set = unix.SetsockoptSockFprog(int(fd), unix.SOL_SOCKET, unix.SO_ATTACH_FILTER, &unix.SockFprog{Len: 1, Filter: &drop})
	})
	if err := errors.Join(err, set); err != nil {
		t.Fatal(err)
	}
}
