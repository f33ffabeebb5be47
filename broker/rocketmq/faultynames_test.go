package rocketmq

import (
	"context"
	"fmt"
	"github.com/remora-mq/remora/test/ports"
	"net"
	"os"
	"syscall"
	"testing"
	"time"
)

// faultyNames are name servers that are of no use, each in its own way.
var faultyNames = map[string]func(*testing.T) string{
	"hung":        hungServer,
	"refused":     refusingServer,
	"black-holed": blackHoledServer,
	"bare":        bareServer,
}

// patienceBeside is for a name server that answers in any case, and for one that never
// does.
func patienceBeside(how string) time.Duration {
	if how == "hung" || how == "black-holed" {
		return 10 * time.Millisecond
	}
	return time.Hour
}

// hungServer accepts, and never answers: the kernel does as much for a process that
// is stopped.
func hungServer(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	must(t, err)
	t.Cleanup(func() { must(t, l.Close()) })
	return l.Addr().String()
}

func refusingServer(t *testing.T) string {
	t.Helper()
	return ports.Free(t)
}

// bareServer knows no topic: brokers tell a name server that was restarted of theirs
// within 30 s.
func bareServer(t *testing.T) string {
	t.Helper()
	return serve(t, func(c command) *command {
		if c.Code != reqRoute {
			return &command{body: []byte(`{"brokerAddrTable":{}}`)}
		}
		return &command{Code: codeTopicNotExist, Remark: "No topic route info in name server"}
	}).addr
}

// blackHoledServer takes no connection and refuses none: what asks for one is dropped, as
// by a network that is gone. The kernel does that where the queue of who is not
// accepted is full.
func blackHoledServer(t *testing.T) string {
	t.Helper()
	socket, err := syscall.Socket(syscall.AF_INET, syscall.SOCK_STREAM|syscall.SOCK_CLOEXEC, 0)
	must(t, err)
	t.Cleanup(func() { must(t, syscall.Close(socket)) })
	must(t, syscall.Bind(socket, &syscall.SockaddrInet4{Addr: [4]byte{127, 0, 0, 1}}))
	must(t, syscall.Listen(socket, 0))
	bound, err := syscall.Getsockname(socket)
	must(t, err)
	addr := fmt.Sprintf("127.0.0.1:%d", bound.(*syscall.SockaddrInet4).Port)
	for range 8 {
		ctx, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
		conn, err := (&net.Dialer{}).DialContext(ctx, "tcp", addr)
		cancel()
		if os.IsTimeout(err) {
			return addr
		}
		must(t, err)
		t.Cleanup(func() { discard(conn) })
	}
	t.Fatal("the queue does not fill")
	return ""
}
