package admin

import (
	"math"
	"net"
	"net/http"
	"sync"
	"time"

	"github.com/remora-mq/remora/internal/problem"
)

// mostConns bounds the connections of a listener. Probes, scrapes and commands take a
// few; what idles beyond would take files from the spool, which ends the process when
// it cannot open one. Both listeners together take no more than half of the eighth
// that the data listener leaves.
func mostConns(files uint64) int {
	const most, share = 128, 32
	return int(max(min(files/share, most), 2))
}

// conns are the connections of a listener, at most a number of them. One more is taken
// in place of the one that has waited longest for a request: a probe always comes
// through, however many connections somebody keeps open.
type conns struct {
	most int
	// brief: no request takes long. One that does is of somebody who does not read the
	// answer, and has to go as those that wait have.
	brief bool

	mu      sync.Mutex
	clock   uint64
	waiting map[net.Conn]uint64 // since when; busy: a request is being answered, and may take as long as it does
}

const busy = math.MaxUint64

func newConns(most int) *conns { return &conns{most: most, waiting: map[net.Conn]uint64{}} }

// changed is the http.Server's ConnState. For a new connection it is called before
// that is served, and the server accepts no other meanwhile.
func (c *conns) changed(nc net.Conn, state http.ConnState) {
	switch state {
	case http.StateNew:
		if victim := c.add(nc); victim == nc {
			turnAway(nc, c.most)
		} else if victim != nil {
			_ = victim.Close() // its goroutine sees the end
		}
	case http.StateActive, http.StateIdle:
		c.turned(nc, state == http.StateActive)
	case http.StateClosed, http.StateHijacked:
		c.mu.Lock()
		defer c.mu.Unlock()
		delete(c.waiting, nc)
	}
}

// add counts a connection in, and returns which has to go: none, the one that has
// waited longest, or, if all are busy, this one.
func (c *conns) add(nc net.Conn) net.Conn {
	c.mu.Lock()
	defer c.mu.Unlock()
	var victim net.Conn
	if len(c.waiting) >= c.most {
		first := uint64(busy)
		victim = nc
		for other, since := range c.waiting {
			if since < first {
				first, victim = since, other
			}
		}
		delete(c.waiting, victim)
	}
	if victim != nc {
		c.clock++
		c.waiting[nc] = c.clock
	}
	return victim
}

// turned notes that a connection has a request, or waits for one. One that has to go
// stays out.
func (c *conns) turned(nc net.Conn, active bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if _, in := c.waiting[nc]; !in {
		return
	}
	c.clock++
	c.waiting[nc] = c.clock
	if active && !c.brief {
		c.waiting[nc] = busy
	}
}

// turnAway answers before a request was read, in one small write that cannot block.
func turnAway(nc net.Conn, most int) {
	defer nc.Close() //nolint:errcheck // the peer may be gone
	p := problem.New(problem.Busy, "as many connections are open as are allowed").WithLimit(int64(most))
	p.RetryAfter = time.Second
	if nc.SetWriteDeadline(time.Now().Add(100*time.Millisecond)) == nil {
		_, _ = nc.Write(raw(p))
	}
}
