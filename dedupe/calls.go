package dedupe

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"
)

// Calls are those that run in a store, and what else has to end with it. The zero
// value is of a store that is open. Methods may be called from many goroutines.
type Calls struct {
	mu      sync.Mutex
	closed  bool
	running sync.WaitGroup
	failed  atomic.Bool
}

// Begin lets a call run until Done, or is ErrClosed.
func (c *Calls) Begin() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closed {
		return ErrClosed
	}
	c.running.Add(1)
	return nil
}

// Done ends a call.
func (c *Calls) Done() { c.running.Done() }

// Go runs what goes on until the store ends.
func (c *Calls) Go(do func()) { c.running.Go(do) }

// Close refuses further calls; it reports whether it was the first to do so.
func (c *Calls) Close() (first bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	first = !c.closed
	c.closed = true
	return first
}

// Wait waits for what runs. After Close nothing more comes.
func (c *Calls) Wait() { c.running.Wait() }

// Ask is one call to a server, of timeout at most. The error is ErrClosed, the
// context's, or ErrUnavailable.
func (c *Calls) Ask(ctx context.Context, timeout time.Duration, ask func(context.Context) error) error {
	return c.Run(ctx, func() error {
		bounded, cancel := context.WithTimeout(ctx, timeout)
		defer cancel()
		return ask(bounded)
	})
}

// Run is Ask for what bounds itself.
func (c *Calls) Run(ctx context.Context, ask func() error) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	if err := c.Begin(); err != nil {
		return err
	}
	defer c.Done()
	err := ask()
	if err != nil && ctx.Err() != nil {
		return errors.Join(ctx.Err(), err) // whether it was asked is not known
	}
	c.failed.Store(err != nil)
	if err != nil {
		return fmt.Errorf("%w: %w", ErrUnavailable, err)
	}
	return nil
}

// Failing reports whether the last Ask got no answer, or a refusal.
func (c *Calls) Failing() bool { return c.failed.Load() }
