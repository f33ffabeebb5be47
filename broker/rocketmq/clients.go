package rocketmq

import (
	"log/slog"
	"sync"
)

// clients are the library's clients of a lane: the one that sends now, and those before
// it that have calls under way. A client signs with the keys that it was made with, so
// other keys take another one.
type clients struct {
	keys func() Keys
	open func(Keys) (sender, error)
	log  *slog.Logger

	mu       sync.Mutex
	now      *client
	refused  Keys // no client could be made with them
	closing  chan struct{}
	retiring sync.WaitGroup
}

type client struct {
	sender

	keys   Keys
	routes sync.Map      // topic → struct{}: it has a route
	calls  int           // under way; of clients.mu
	over   chan struct{} // closed when another one sends, and no call is under way; nil: this one sends
}

func newClients(keys func() Keys, open func(Keys) (sender, error), log *slog.Logger) (*clients, error) {
	c := &clients{keys: keys, open: open, log: log, closing: make(chan struct{})}
	first := keys()
	s, err := open(first)
	c.now = &client{sender: s, keys: first}
	return c, err
}

// renew has another client send from now on if the keys have changed. Reading them may
// take as long as their files do: others send meanwhile, with those from before.
func (c *clients) renew() {
	before := c.sending()
	keys := c.keys()
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.now != before || keys == before.keys || keys == c.refused { // of another one they may be the older keys
		return
	}
	s, err := c.open(keys)
	if err != nil {
		c.refused = keys
		c.log.Error("no client can be made with the new keys; the former one goes on", "error", err)
		return
	}
	c.log.Info("the keys have changed: a new client sends")
	c.retire(c.now)
	c.now = &client{sender: s, keys: keys}
}

func (c *clients) sending() *client {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.now
}

// retire shuts a client down when no call of it is under way, or the lane closes. c.mu
// is held.
func (c *clients) retire(old *client) {
	old.over = make(chan struct{})
	if old.calls == 0 {
		close(old.over)
	}
	c.retiring.Go(func() {
		select {
		case <-old.over:
		case <-c.closing:
		}
		if err := old.Shutdown(); err != nil {
			c.log.Warn("the client with the former keys was not shut down", "error", err)
		}
	})
}

// enter gives the client that sends; the caller owes a leave.
func (c *clients) enter() *client {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.now.calls++
	return c.now
}

// stay is enter for a call that may outlast the one who entered.
func (c *clients) stay(one *client) {
	c.mu.Lock()
	defer c.mu.Unlock()
	one.calls++
}

func (c *clients) leave(one *client) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if one.calls--; one.calls == 0 && one.over != nil {
		close(one.over)
	}
}

// close shuts all down, once.
func (c *clients) close() error {
	close(c.closing)
	c.retiring.Wait()
	return c.now.Shutdown()
}
