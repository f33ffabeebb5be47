package httpapi

import (
	"context"
	"errors"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// attend returns a context that ends with parent, or as soon as the client has
// closed its side of the connection. end has to be called before the connection is
// read again.
func (c *conn) attend(parent context.Context) (ctx context.Context, end func()) {
	ctx, cancel := context.WithCancel(parent)
	raw := c.raw()
	if raw == nil || c.armRead(time.Time{}) != nil {
		return ctx, cancel
	}
	watched := make(chan struct{})
	go func() {
		defer close(watched)
		_ = raw.Read(func(fd uintptr) bool { // it reads nothing: it waits for news, until end
			gone := peerEvents(fd)&hangUp != 0
			if gone {
				cancel()
			}
			return gone
		})
	}()
	return ctx, func() {
		_ = c.armRead(time.Unix(1, 0)) // a closed connection is not waited for either
		<-watched
		cancel()
	}
}

// hangUp are the events of a client that waits for no answer: also of one that has
// closed one direction only, since that looks the same.
const hangUp = unix.POLLRDHUP | unix.POLLHUP | unix.POLLERR

// hungUp reports that the client has closed its side of the connection. It does not
// block.
func (c *conn) hungUp() bool { return c.events()&hangUp != 0 }

// wasReset reports that the client has closed the connection before it had read all that
// it was sent.
func (c *conn) wasReset() bool { return c.events()&unix.POLLERR != 0 }

func (c *conn) events() (events int16) {
	raw := c.raw()
	if raw == nil {
		return 0
	}
	if raw.Control(func(fd uintptr) { events = peerEvents(fd) }) != nil {
		return unix.POLLERR // it is closed here
	}
	return events
}

// raw is the socket; nil: there is none.
func (c *conn) raw() syscall.RawConn {
	socket, ok := c.Conn.(syscall.Conn)
	if !ok {
		return nil
	}
	raw, err := socket.SyscallConn()
	if err != nil {
		return nil
	}
	return raw
}

// peerEvents tells of the client's end, also behind bytes that nobody has read.
func peerEvents(fd uintptr) int16 {
	fds := []unix.PollFd{{Fd: int32(fd), Events: unix.POLLRDHUP}}
	for {
		if _, err := unix.Poll(fds, 0); !errors.Is(err, unix.EINTR) {
			return fds[0].Revents
		}
	}
}
