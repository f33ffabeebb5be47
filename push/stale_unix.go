//go:build unix

package push

import (
	"errors"
	"io"
	"os"

	"golang.org/x/sys/unix"
)

// stale reports whether the peer has closed a kept connection, or sent what
// nobody asked for. It does not block.
func (c *conn) stale() bool {
	c.wire.polls = true
	defer func() { c.wire.polls = false }()
	_, err := c.br.Peek(1) // through TLS, which reads ahead, and is sent session tickets unasked
	return !errors.Is(err, os.ErrDeadlineExceeded)
}

// poll reads what is there. Where nothing is, the time is over at once.
func (w *wire) poll(p []byte) (n int, err error) {
	failed := w.raw.Control(func(fd uintptr) { // Read would look at the deadline, which may be an old one
		n, _, err = unix.Recvfrom(int(fd), p, unix.MSG_DONTWAIT)
	})
	switch {
	case failed != nil:
		return 0, failed
	case errors.Is(err, unix.EAGAIN):
		return 0, os.ErrDeadlineExceeded
	case err != nil:
		return 0, err
	case n == 0:
		return 0, io.EOF
	}
	return n, nil
}
