package httpapi

import "time"

// Deadlines cost as much as a small read: each goes to the runtime's timers.
// fasthttp sets four a request. Nearly all of them are replaced before anybody
// waits under them, so the socket gets only those that somebody will.

// SetReadDeadline notes when a request, or the wait for one, has to be over.
// The socket learns of it with the first read that may wait: most requests come
// whole with their first bytes.
func (c *conn) SetReadDeadline(t time.Time) error {
	c.wanted = t
	return nil
}

// armRead makes the socket's reads end at t.
func (c *conn) armRead(t time.Time) error {
	if t.Equal(c.reads) {
		return nil
	}
	c.reads = t
	return c.Conn.SetReadDeadline(t)
}

// armPark makes the wait for the next request end after parkAfter, or up to half
// of it earlier: then the deadline of the one before still does.
func (c *conn) armPark() error {
	t := time.Now().Add(parkAfter)
	if early := t.Sub(c.reads); early >= 0 && early < parkAfter/2 {
		return nil
	}
	return c.armRead(t)
}

// SetWriteDeadline ends writes at t, or up to the connection's slack earlier.
func (c *conn) SetWriteDeadline(t time.Time) error {
	if early := t.Sub(c.writes); early >= 0 && early < c.slack {
		return nil
	}
	c.writes = t
	return c.Conn.SetWriteDeadline(t)
}
