package chaos

import (
	"fmt"
	"net"
	"slices"
	"time"
)

// Ways of a link, as seen from the sidecar.
const (
	toBroker   = "requests"
	fromBroker = "answers"
)

// Kinds of toxics, called as Toxiproxy calls them, and what their amount is.
const (
	reset     = "reset"     // ms after the next bytes until the connection is reset
	timeout   = "timeout"   // ms that nothing passes until the connection is closed; 0: until the toxic ends
	latency   = "latency"   // ms
	bandwidth = "bandwidth" // KB/s
	slicer    = "slicer"    // bytes in a piece
	cut       = "cut"       // bytes that pass until the connection is closed
)

// toxic is something that a link does to the bytes of one way.
type toxic struct {
	kind, way string
	amount    int
	ended     chan struct{}
}

func newToxic(kind, way string, amount int) *toxic {
	return &toxic{kind, way, amount, make(chan struct{})}
}

func (x *toxic) String() string { return fmt.Sprintf("%s %d of %s", x.kind, x.amount, x.way) }

func (l *link) add(x *toxic) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.toxics = append(l.toxics, x)
}

func (l *link) remove(x *toxic) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.toxics = slices.DeleteFunc(l.toxics, func(y *toxic) bool { return x == y })
	close(x.ended)
}

// active are the toxics of a way, now.
func (l *link) active(way string) (all []*toxic) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, x := range l.toxics {
		if x.way == way {
			all = append(all, x)
		}
	}
	return all
}

// pipe is one way of a connection.
type pipe struct {
	link     *link
	c        *connection
	way      string
	from, to net.Conn
	passed   map[*toxic]int // bytes under a cut
}

// run ends the connection when it ends.
func (p *pipe) run() {
	defer p.c.end()
	buf := make([]byte, 32<<10)
	for {
		n, err := p.from.Read(buf)
		if err != nil || !p.pass(buf[:n]) {
			return
		}
	}
}

// pass hands bytes on; false ends the connection.
func (p *pipe) pass(data []byte) bool {
	var ok bool
	for _, x := range p.link.active(p.way) {
		if data, ok = p.suffer(x, data); !ok {
			return false
		}
	}
	return p.write(data)
}

// suffer does to bytes what a toxic does, and returns what is left to hand on.
func (p *pipe) suffer(x *toxic, data []byte) (rest []byte, ok bool) {
	ms := time.Duration(x.amount) * time.Millisecond
	switch x.kind {
	case reset:
		p.wait(x, ms)
		p.c.reset()
		return nil, false
	case timeout:
		if x.amount == 0 {
			ms = time.Hour
		}
		p.wait(x, ms)
		return nil, false
	case latency:
		return data, p.wait(x, ms)
	case bandwidth:
		return p.pieces(x, data, 100*x.amount, 100*time.Millisecond)
	case slicer:
		return p.pieces(x, data, x.amount, 100*time.Microsecond)
	default:
		return p.cutOff(x, data)
	}
}

// cutOff lets the first bytes under a toxic pass.
func (p *pipe) cutOff(x *toxic, data []byte) (rest []byte, ok bool) {
	left := x.amount - p.passed[x]
	if len(data) > left {
		p.write(data[:left])
		return nil, false
	}
	p.passed[x] += len(data)
	return data, true
}

// pieces writes so many bytes at a time, with a wait after each.
func (p *pipe) pieces(x *toxic, data []byte, size int, wait time.Duration) (rest []byte, ok bool) {
	for len(data) > size {
		if !p.write(data[:size]) || !p.wait(x, wait) {
			return nil, false
		}
		data = data[size:]
	}
	return data, p.wait(x, wait*time.Duration(len(data))/time.Duration(size))
}

func (p *pipe) write(data []byte) bool {
	_, err := p.to.Write(data)
	return err == nil
}

// wait ends early with the toxic; false: the connection has ended.
func (p *pipe) wait(x *toxic, d time.Duration) bool {
	select {
	case <-time.After(d):
		return true
	case <-x.ended:
		return true
	case <-p.c.over:
		return false
	}
}
