package push

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"time"

	"github.com/valyala/fasthttp"
)

// late is a call whose time came before the answer: its connection, on which that
// may still come.
type late struct {
	c  *Client
	cn *conn
}

// wait returns the answer that came after all, or that none did before ctx was
// done. Either ends the connection, unless it can carry another call.
func (l *late) wait(ctx context.Context) Answer {
	l.cn.wire.begin(ctx, time.Time{})
	answer, keep := l.c.listen(ctx, l.cn)
	l.c.release(l.cn, keep)
	return answer
}

// listen reads the answer to a call that was written whole.
func (c *Client) listen(ctx context.Context, cn *conn) (a Answer, keep bool) {
	if _, err := cn.br.Peek(1); err != nil {
		if ctx.Err() != nil {
			err = context.Cause(ctx)
		}
		return Answer{Err: fmt.Errorf("wait for the handler's late answer: %w", err)}, false
	}
	if a, keep, whole := c.hearOK(cn); whole {
		return a, keep
	}
	return c.hear(cn)
}

// hearOn reads an answer that has begun, and is not here whole, in a goroutine of its
// own: it may end after the call's time. Where that is over first, the rest of it is
// waited for by Late.
func (c *Client) hearOn(ctx context.Context, cn *conn, written bool) Answer {
	until := cn.wire.until
	never := context.WithoutCancel(ctx)
	on, cut := context.WithCancel(never)
	cn.wire.begin(on, time.Time{})
	heard := make(chan Answer, 1)
	go func() {
		defer cut()
		a, keep := c.hear(cn)
		cn.wire.begin(never, time.Time{}) // who uses it next is not cut off
		c.release(cn, keep && written)
		heard <- a
	}()
	var late <-chan time.Time
	if !until.IsZero() {
		timer := time.NewTimer(time.Until(until))
		defer timer.Stop()
		late = timer.C
	}
	select {
	case a := <-heard:
		return a
	case <-ctx.Done():
	case <-late:
	}
	a := Answer{Err: fmt.Errorf("wait for the end of the handler's answer: %w", ended(ctx, until))}
	if errors.Is(ctx.Err(), context.Canceled) {
		cut()
		<-heard
		return a
	}
	a.Late = func(ctx context.Context) Answer {
		defer context.AfterFunc(ctx, cut)()
		return <-heard
	}
	return a
}

// hear reads an answer that has begun.
func (c *Client) hear(cn *conn) (a Answer, keep bool) {
	h := new(fasthttp.ResponseHeader)
	if err := cn.readHeader(h); err != nil {
		return Answer{Err: fmt.Errorf("read the handler's answer: %w", err)}, false
	}
	ended, err := drain(cn.br, h)
	if err != nil {
		return Answer{Err: fmt.Errorf("handler's answer %d broke off: %w", h.StatusCode(), err)}, false
	}
	keep = ended && !h.ConnectionClose() && h.StatusCode() != http.StatusSwitchingProtocols && cn.br.Buffered() == 0 && cn.ordinary()
	return c.read(h), keep
}

// hearOK reads an answer that is here whole, and means done without further words, as
// nearly all are.
func (c *Client) hearOK(cn *conn) (a Answer, keep, whole bool) {
	if !c.acks[http.StatusOK] {
		return Answer{}, false, false
	}
	here, _ := cn.br.Peek(cn.br.Buffered()) // all that there is cannot fail
	header, body, ok := quickOK(here)
	if !ok || header+body > len(here) {
		return Answer{}, false, false
	}
	_, _ = cn.br.Discard(header + body) // nor can this
	return Answer{Disposition: Done, Status: http.StatusOK}, cn.br.Buffered() == 0 && cn.ordinary(), true
}
