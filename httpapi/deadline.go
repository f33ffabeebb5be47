package httpapi

import "time"

// Deadlines cost as much as a small read: each goes to the runtime's timers.
// fasthttp would set three a request for reads alone, and nearly all of them are
// replaced before anybody waits under them. So it is told of no read timeout, and
// the socket gets the deadlines that somebody will wait under.

// timeouts of a connection's requests.
type timeouts struct {
	read  time.Duration // for a whole request
	slack time.Duration // by which a write deadline may be early
}

// armRequest makes the request be over in time, from its second read on: the
// first has brought its beginning, and mostly all of it.
func (c *conn) armRequest() error {
	if c.until.IsZero() {
		c.until = time.Now().Add(c.timeouts.read)
	}
	return c.armRead(c.until)
}

// armRead makes the socket's reads end at t.
func (c *conn) armRead(t time.Time) error {
	if t.Equal(c.reads) {
		return nil
	}
	c.reads = t
	return c.SetReadDeadline(t)
}

// armPark makes the wait for the next request end after parkAfter, or up to half
// of it earlier: then the deadline of the one before still does.
func (c *conn) armPark() error {
	if left := time.Until(c.reads); left <= parkAfter && left > parkAfter/2 {
		return nil
	}
	return c.armRead(time.Now().Add(parkAfter))
}

// SetWriteDeadline is fasthttp's: it ends writes at t, or up to the slack earlier.
func (c *conn) SetWriteDeadline(t time.Time) error {
	if early := t.Sub(c.writes); early >= 0 && early < c.timeouts.slack {
		return nil
	}
	c.writes = t
	return c.Conn.SetWriteDeadline(t)
}
