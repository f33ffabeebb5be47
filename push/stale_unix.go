//go:build unix

package push

import (
	"errors"

	"golang.org/x/sys/unix"
)

// stale reports whether the peer has closed a kept connection, or sent what
// nobody asked for. It does not block.
func (c *conn) stale() bool {
	dead := true
	err := c.wire.raw.Control(func(fd uintptr) { // Read would look at the deadline, which may be an old one
		var b [1]byte
		n, _, err := unix.Recvfrom(int(fd), b[:], unix.MSG_PEEK|unix.MSG_DONTWAIT)
		switch {
		case errors.Is(err, unix.EAGAIN):
			dead = false
		case err == nil && n > 0:
			dead = !c.secure // TLS sends session tickets unasked
		}
	})
	return err != nil || dead
}
