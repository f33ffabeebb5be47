package admin

import (
	"context"
	"net"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// ofRequest is the key of a request's connection in its context.
type ofRequest struct{}

// withConn is the http.Server's ConnContext.
func withConn(ctx context.Context, nc net.Conn) context.Context {
	return context.WithValue(ctx, ofRequest{}, nc)
}

// endUnheard has the kernel end the connection of a request when its peer has
// acknowledged nothing for so long of what was sent to it. A deadline of writes does not
// notice that a peer has vanished, because the kernel takes what it can send to nobody,
// and TCP itself gives up after a quarter of an hour. Where there is no TCP nothing is done.
func endUnheard(ctx context.Context, after time.Duration) {
	nc, _ := ctx.Value(ofRequest{}).(net.Conn)
	if w, is := nc.(*words); is {
		nc = w.Conn
	}
	tcp, is := nc.(syscall.Conn)
	if !is {
		return
	}
	if raw, err := tcp.SyscallConn(); err == nil {
		_ = raw.Control(func(fd uintptr) { // of a connection that has ended there is nothing to end
			_ = unix.SetsockoptInt(int(fd), unix.IPPROTO_TCP, unix.TCP_USER_TIMEOUT, int(after.Milliseconds()))
		})
	}
}
