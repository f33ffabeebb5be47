package push

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/url"
	"os"

	"github.com/valyala/fasthttp"
)

// Client calls one handler.
type Client struct {
	o      Options
	target *url.URL
	acks   map[int]bool
	pool   *pool
	log    *slog.Logger
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
	return &Client{o: o, target: u, acks: acks, pool: newPool(o, u), log: o.Logger}, nil
}

// Close closes idle connections; running calls end on their own. It does not
// fail.
func (c *Client) Close() error {
	c.pool.close()
	return nil
}

// Deliver makes one call and returns its answer, soon after ctx is done at the
// latest. Without a deadline in ctx it waits for ever for a silent handler.
//
// It connects a second time only when a kept connection turned out to have
// been closed before a byte of this call was taken from it.
func (c *Client) Deliver(ctx context.Context, call *Call) Answer {
	req := fasthttp.AcquireRequest()
	defer fasthttp.ReleaseRequest(req)
	c.write(req, call)
	for ctx.Err() == nil {
		cn, reused, err := c.pool.get(ctx)
		if err != nil {
			return Answer{Disposition: Unreachable, Err: fmt.Errorf("connect to the handler: %w", err)}
		}
		answer := c.exchange(ctx, cn, req, call.MayBeLate)
		if !reused || !errors.Is(answer.Err, errNotTaken) {
			return answer
		}
		c.pool.dropIdle() // the others were kept by the same process
	}
	return Answer{Disposition: Unreachable, Err: fmt.Errorf("call the handler: %w", context.Cause(ctx))}
}

func timedOut(err error) bool {
	return errors.Is(err, os.ErrDeadlineExceeded) || errors.Is(err, context.DeadlineExceeded)
}
