package main

import (
	"context"
	"fmt"
	"net"
	"net/url"
	"sync/atomic"
	"time"

	"github.com/valyala/fasthttp"
	"golang.org/x/sync/errgroup"

	"github.com/remora-mq/remora/bench/load"
)

// caller is fasthttp's client, as an application uses it to call one handler.
type caller struct {
	client *fasthttp.HostClient
	target string
}

func newCaller(handler string, atATime int) (*caller, error) {
	u, err := url.Parse(handler)
	if err != nil {
		return nil, err
	}
	dial := func(addr string) (net.Conn, error) { return net.Dial("tcp", addr) } // fasthttp's own leaves a goroutine
	return &caller{&fasthttp.HostClient{Addr: u.Host, MaxConns: atATime, Dial: dial}, handler + "/call"}, nil
}

func (c *caller) call(body []byte) error {
	req, res := fasthttp.AcquireRequest(), fasthttp.AcquireResponse()
	defer fasthttp.ReleaseRequest(req)
	defer fasthttp.ReleaseResponse(res)
	req.Header.SetMethod(fasthttp.MethodPost)
	req.SetRequestURI(c.target)
	req.SetBodyRaw(body)
	if err := c.client.Do(req, res); err != nil {
		return fmt.Errorf("call the handler: %w", err)
	}
	if res.StatusCode() != fasthttp.StatusOK {
		return fmt.Errorf("call the handler: %d", res.StatusCode())
	}
	return nil
}

// callAll makes n calls, so many at a time.
func (c *caller) callAll(ctx context.Context, atATime, n int) error {
	var taken atomic.Int64
	group, ctx := errgroup.WithContext(ctx)
	for i := range atATime {
		group.Go(func() error {
			bodies := load.NewBodies(bodySize, i)
			for ctx.Err() == nil && taken.Add(1) <= int64(n) {
				if err := c.call(bodies.Next()); err != nil {
					return err
				}
			}
			return context.Cause(ctx)
		})
	}
	return group.Wait()
}

// timed is one call.
func (c *caller) timed(bodies *load.Bodies) (time.Duration, error) {
	began := time.Now()
	err := c.call(bodies.Next())
	return time.Since(began), err
}

func (c *caller) close() { c.client.CloseIdleConnections() }
