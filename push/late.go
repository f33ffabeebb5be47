package push

import (
	"context"
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
	if keep {
		l.c.pool.put(l.cn)
	} else {
		_ = l.cn.Close()
	}
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
	return c.hear(cn)
}

// hear reads an answer that has begun.
func (c *Client) hear(cn *conn) (a Answer, keep bool) {
	if c.heardOK(cn) {
		return Answer{Disposition: Done, Status: http.StatusOK}, cn.br.Buffered() == 0 && cn.ordinary()
	}
	h := new(fasthttp.ResponseHeader)
	if err := cn.readHeader(h); err != nil {
		return Answer{Err: fmt.Errorf("read the handler's answer: %w", err)}, false
	}
	ended, err := drain(cn.br, h)
	if err != nil {
		return Answer{Err: fmt.Errorf("handler's answer %d broke off: %w", h.StatusCode(), err)}, false
	}
	return c.read(h), ended && !h.ConnectionClose() && cn.br.Buffered() == 0 && cn.ordinary()
}

// heardOK reads an answer that is here whole, and means done without further words.
func (c *Client) heardOK(cn *conn) bool {
	if !c.acks[http.StatusOK] {
		return false
	}
	here, _ := cn.br.Peek(cn.br.Buffered()) // all that there is cannot fail
	header, body, ok := quickOK(here)
	if !ok || header+body > len(here) {
		return false
	}
	_, _ = cn.br.Discard(header + body) // nor can this
	return true
}
