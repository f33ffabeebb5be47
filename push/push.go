package push

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"time"
)

// Client calls one handler.
type Client struct {
	o    Options
	head []byte // of each call
	acks map[int]bool
	pool *pool
	log  *slog.Logger
}

// New checks the options. It does not connect.
func New(o Options) (*Client, error) {
	o = o.withDefaults()
	u, err := o.validate()
	if err != nil {
		return nil, err
	}
	acks := make(map[int]bool, len(o.AckStatuses))
	for _, s := range o.AckStatuses {
		acks[s] = true
	}
	return &Client{o: o, head: head(u.Host, u.RequestURI(), o.UserAgent), acks: acks, pool: newPool(o, u), log: o.Logger}, nil
}

// Close closes idle connections; running calls end on their own. It does not
// fail.
func (c *Client) Close() error {
	c.pool.close()
	return nil
}

// Deliver makes one call and returns its answer, soon after ctx is done or the call's
// time is over at the latest. Without either it waits for ever for a silent handler.
//
// It connects a second time only when a kept connection turned out to have
// been closed before a byte of this call was taken from it.
func (c *Client) Deliver(ctx context.Context, call *Call) Answer {
	var until time.Time
	if call.Timeout > 0 {
		until = time.Now().Add(call.Timeout)
	}
	req := c.newRequest(call)
	defer req.free()
	for ctx.Err() == nil {
		cn, reused, err := c.pool.get(ctx, until)
		if err != nil {
			return Answer{Disposition: Unreachable, Err: fmt.Errorf("connect to the handler: %w", err)}
		}
		cn.wire.begin(ctx, until)
		answer := c.exchange(ctx, cn, req, call)
		if !reused || !errors.Is(answer.Err, errNotTaken) {
			return answer
		}
		c.pool.dropIdle() // the others were kept by the same process
		if over(until) {
			break
		}
	}
	return Answer{Disposition: Unreachable, Err: fmt.Errorf("call the handler: %w", ended(ctx, until))}
}

// ended tells why a call may not go on; nil: it may.
func ended(ctx context.Context, until time.Time) error {
	switch {
	case ctx.Err() != nil:
		return context.Cause(ctx)
	case over(until):
		return context.DeadlineExceeded
	}
	return nil
}

func timedOut(err error) bool {
	return errors.Is(err, os.ErrDeadlineExceeded) || errors.Is(err, context.DeadlineExceeded)
}
