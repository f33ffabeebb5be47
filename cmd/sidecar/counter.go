package main

import (
	"fmt"
	"io"
	"sync"
	"time"
)

// counter counts while something long goes on: on a terminal in one line that is drawn
// again and again, elsewhere in a line a minute. One goroutine draws until end.
type counter struct {
	w    io.Writer
	what string
	stop chan struct{}
	done chan struct{}
	soon chan struct{} // something new is waited for

	mu  sync.Mutex
	now counterLine
}

// counterLine is what a line of a counter tells.
type counterLine struct {
	n     int64
	at    string // what it is at; "": that is not told
	waits string // why nothing goes on; "": it is not known, or it does
}

// redraw is how often progress is drawn on a terminal, and relate how often it is told
// elsewhere: only what takes longer shows any.
const (
	redraw = 500 * time.Millisecond
	relate = time.Minute
)

func newCounter(w io.Writer, what string) *counter {
	p := &counter{w: w, what: what, stop: make(chan struct{}), done: make(chan struct{}), soon: make(chan struct{}, 1)}
	if isTerminal(w) {
		go p.draw(time.Now(), redraw, "\r\x1b[K%s", "\r\x1b[K")
	} else {
		go p.draw(time.Now(), relate, "%s\n", "")
	}
	return p
}

func (p *counter) add(n int64) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.now.n += n
}

// Write counts what passes through an io.TeeReader.
func (p *counter) Write(b []byte) (int, error) {
	p.add(int64(len(b)))
	return len(b), nil
}

func (p *counter) set(n int64) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.now.n = n
}

// show has a line tell all that is in now. That nothing goes on is told at once, when the
// reason is a new one.
func (p *counter) show(now counterLine) {
	p.mu.Lock()
	defer p.mu.Unlock()
	was := p.now.waits
	if p.now = now; now.waits == "" || now.waits == was {
		return
	}
	select {
	case p.soon <- struct{}{}:
	default:
	}
}

// draw writes a line in the format, each time, and clean at the end.
func (p *counter) draw(began time.Time, every time.Duration, format, clean string) {
	defer close(p.done)
	tick := time.NewTicker(every)
	defer tick.Stop()
	for {
		select {
		case <-p.stop:
			fmt.Fprint(p.w, clean)
			return
		case <-tick.C:
		case <-p.soon:
		}
		fmt.Fprintf(p.w, format, p.line(time.Since(began)))
	}
}

func (p *counter) line(took time.Duration) string {
	p.mu.Lock()
	defer p.mu.Unlock()
	line := fmt.Sprintf("%s, %s", p.what, took.Round(time.Second))
	if p.now.n > 0 {
		line = fmt.Sprintf("%d %s", p.now.n, line)
	}
	switch {
	case p.now.at != "" && p.now.waits != "":
		line += ", " + p.now.at + ", " + p.now.waits
	case p.now.at != "":
		line += ", " + p.now.at
	case p.now.waits != "":
		line += ": waits, " + p.now.waits
	}
	return line
}

// end takes what was drawn away. It is called once.
func (p *counter) end() {
	close(p.stop)
	<-p.done
}
