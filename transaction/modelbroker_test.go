package transaction_test

import (
	"context"
	"errors"
	"sync"
	"time"

	"github.com/remora-mq/remora/broker"
	"github.com/remora-mq/remora/message"
	"github.com/remora-mq/remora/spool"
)

// connection is what one process has of a broker. Once it is cut its calls do nothing,
// and hang until the process is gone: of a process that was killed nothing more comes.
type connection struct {
	*halfBroker

	ending func(p message.HalfPlace, commit bool) // called before each end that comes to the broker
	gone   chan struct{}

	link sync.RWMutex // held for reading during a call
	dead bool
}

var errKilled = errors.New("the process was killed")

// cut returns when no call is under way.
func (c *connection) cut() {
	c.link.Lock()
	defer c.link.Unlock()
	c.dead = true
}

// through makes a call, unless it is cut.
func (c *connection) through(call func() error) error {
	if called, err := c.tryThrough(call); called {
		return err
	}
	<-c.gone
	return errKilled
}

func (c *connection) tryThrough(call func() error) (called bool, err error) {
	c.link.RLock()
	defer c.link.RUnlock()
	if c.dead {
		return false, nil
	}
	return true, call()
}

func (c *connection) Prepare(ctx context.Context, m *message.Message, h broker.Half) (p message.HalfPlace, err error) {
	err = c.through(func() (err error) { p, err = c.halfBroker.Prepare(ctx, m, h); return err })
	return p, err
}

func (c *connection) End(ctx context.Context, p message.HalfPlace, commit bool) error {
	return c.through(func() error {
		c.ending(p, commit)
		return c.halfBroker.End(ctx, p, commit)
	})
}

func (c *connection) Committed(ctx context.Context, p message.HalfPlace, since time.Time) (is bool, err error) {
	err = c.through(func() (err error) { is, err = c.halfBroker.Committed(ctx, p, since); return err })
	return is, err
}

func (c *connection) Dropped(ctx context.Context, p message.HalfPlace, h broker.Half, since time.Time) (is bool, err error) {
	err = c.through(func() (err error) { is, err = c.halfBroker.Dropped(ctx, p, h, since); return err })
	return is, err
}

func (c *connection) There(ctx context.Context, p message.HalfPlace) (h broker.Half, err error) {
	err = c.through(func() (err error) { h, err = c.halfBroker.There(ctx, p); return err })
	return h, err
}

// hasty is a spool in which the time has come that a Keeper waits for.
type hasty struct{ *spool.Spool }

// EndHalfAgain has it told again soon.
func (s hasty) EndHalfAgain(ctx context.Context, id, why string, _ time.Duration) error {
	return s.Spool.EndHalfAgain(ctx, id, why, 5*time.Millisecond)
}

// Receipt is as if the broker's index had come so far since.
func (s hasty) Receipt(ctx context.Context, id message.ID) (message.Receipt, error) {
	r, err := s.Spool.Receipt(ctx, id)
	r.SettledAt = r.SettledAt.Add(-time.Hour)
	return r, err
}
