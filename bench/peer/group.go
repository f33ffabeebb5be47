package peer

import (
	"context"
	"errors"
	"sync"

	"github.com/remora-mq/remora/bench/load"
)

// GroupAppend is the floor of many writers: all that wait are appended and
// synced together.
type GroupAppend struct{}

// Name says what it does.
func (GroupAppend) Name() string { return "group-committed append" }

// Start creates the file and starts its committer.
func (GroupAppend) Start(_ context.Context, dir string) (Running, error) {
	f, err := createLog(dir)
	if err != nil {
		return nil, err
	}
	g := &group{log: f, wake: make(chan struct{}, 1), ended: make(chan struct{}), next: newCommit(nil)}
	go g.run()
	return g, nil
}

// group is a file with one committer, the goroutine run.
type group struct {
	log   *log
	wake  chan struct{} // next has something, or closing is set
	ended chan struct{}

	mu      sync.Mutex
	next    *commit
	closing bool
}

// commit is what is synced together. done is closed when it was.
type commit struct {
	data []byte
	done chan struct{}
	err  error
}

var errClosed = errors.New("the log is closed")

// newCommit takes over the memory of a buffer that nobody uses any more.
func newCommit(buffer []byte) *commit {
	return &commit{data: buffer[:0], done: make(chan struct{})}
}

func (g *group) run() {
	defer close(g.ended)
	var spare []byte
	for range g.wake {
		c, closing := g.take(spare)
		if len(c.data) > 0 {
			c.err = g.log.append(c.data)
		}
		close(c.done)
		spare = c.data
		if closing {
			return
		}
	}
}

func (g *group) take(spare []byte) (c *commit, closing bool) {
	g.mu.Lock()
	defer g.mu.Unlock()
	c, g.next = g.next, newCommit(spare)
	return c, g.closing
}

func (g *group) add(body []byte) (*commit, error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.closing {
		return nil, errClosed
	}
	g.next.data = append(g.next.data, body...)
	return g.next, nil
}

func (g *group) rouse() {
	select {
	case g.wake <- struct{}{}:
	default:
	}
}

// Send is called by all connections at once.
func (g *group) Send(body []byte) error {
	c, err := g.add(body)
	if err != nil {
		return err
	}
	g.rouse()
	<-c.done
	return c.err
}

// Close ends a connection; there is none.
func (g *group) Close() error { return nil }

func (g *group) Dial(context.Context) (load.Client, error) { return g, nil }
func (g *group) PID() int                                  { return 0 }
func (g *group) Forget(context.Context) error              { return g.log.truncate() }

// Stop syncs what still waits.
func (g *group) Stop() error {
	g.mu.Lock()
	g.closing = true
	g.mu.Unlock()
	g.rouse()
	<-g.ended
	return g.log.Close()
}
