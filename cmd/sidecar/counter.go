package main

import (
	"fmt"
	"io"
	"sync"
	"time"
)

// counter counts on a terminal while something long goes on; elsewhere it is
// silent. One goroutine draws until end.
type counter struct {
	w    io.Writer
	what string
	stop chan struct{}
	done chan struct{}

	mu sync.Mutex
	n  int64
}

// redraw is how often progress is drawn: only what takes longer shows any.
const redraw = 500 * time.Millisecond

func newCounter(w io.Writer, what string) *counter {
	p := &counter{w: w, what: what, stop: make(chan struct{}), done: make(chan struct{})}
	if !isTerminal(w) {
		close(p.done)
		return p
	}
	go p.draw(time.Now())
	return p
}

func (p *counter) add(n int64) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.n += n
}

// Write counts what passes through an io.TeeReader.
func (p *counter) Write(b []byte) (int, error) {
	p.add(int64(len(b)))
	return len(b), nil
}

func (p *counter) set(n int64) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.n = n
}

func (p *counter) draw(began time.Time) {
	defer close(p.done)
	tick := time.NewTicker(redraw)
	defer tick.Stop()
	for {
		select {
		case <-p.stop:
			fmt.Fprint(p.w, "\r\x1b[K")
			return
		case <-tick.C:
			p.mu.Lock()
			n := p.n
			p.mu.Unlock()
			line := fmt.Sprintf("\r\x1b[K%s, %s", p.what, time.Since(began).Round(time.Second))
			if n > 0 {
				line = fmt.Sprintf("\r\x1b[K%d %s, %s", n, p.what, time.Since(began).Round(time.Second))
			}
			fmt.Fprint(p.w, line)
		}
	}
}

// end takes what was drawn away. It is called once.
func (p *counter) end() {
	close(p.stop)
	<-p.done
}
