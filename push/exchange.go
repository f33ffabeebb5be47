package push

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http/httputil"
	"syscall"

	"github.com/valyala/fasthttp"
)

// maxBody is how much of an answer's body is read; what is longer counts as
// whole, and its connection is closed.
const maxBody = 64 << 10

// errNotTaken: the connection ended before a byte of the call was taken.
var errNotTaken = errors.New("handler closed the connection before it took the call")

// exchange writes req on cn, reads the answer, and keeps or closes cn; or leaves it
// to the answer, where that may come later, or end later.
func (c *Client) exchange(ctx context.Context, cn *conn, req *request, call *Call) Answer {
	before := cn.wire.wrote
	// A failed write is not the end: a handler may answer, and close, without
	// having read all.
	written := cn.send(req) == nil
	if _, err := cn.br.Peek(1); err != nil {
		a := silence(ctx, cn, before, err)
		if call.MayBeLate && written && ended(ctx, cn.wire.until) != nil && !errors.Is(ctx.Err(), context.Canceled) {
			a.Late = (&late{c, cn}).wait
			return a
		}
		_ = cn.Close()
		return a
	}
	a, keep, whole := c.hearOK(cn)
	switch {
	case whole:
	case call.MayBeLate:
		return c.hearOn(ctx, cn, written)
	default:
		a, keep = c.hear(cn)
	}
	c.release(cn, keep && written)
	return a
}

// release keeps a connection that can carry another call, and closes others.
func (c *Client) release(cn *conn, keep bool) {
	if keep {
		c.pool.put(cn)
	} else {
		_ = cn.Close()
	}
}

func (c *conn) send(req *request) error {
	_, err := c.Write(req.b)
	if err == nil && len(req.rest) > 0 {
		_, err = c.Write(req.rest)
	}
	return err
}

// silence tells a call that nobody saw from one that somebody may have seen.
func silence(ctx context.Context, cn *conn, before uint64, err error) Answer {
	why := ended(ctx, cn.wire.until)
	switch {
	case why != nil:
		return Answer{Err: fmt.Errorf("wait for the handler's answer: %w", why)}
	case cn.notTaken(before, err):
		return Answer{Disposition: Unreachable, Err: fmt.Errorf("%w: %w", errNotTaken, err)}
	default:
		return Answer{Err: fmt.Errorf("handler closed the connection without an answer: %w", err)}
	}
}

// notTaken reports whether err, met before the first byte of an answer, proves
// that no byte of the call was taken: before is how many had been written then.
//
// Nothing acknowledged alone is no proof: acknowledgements are delayed on a
// connection in use, and a reset throws away the one it carries. An end of
// stream carries the acknowledgement of all that came before it, so with
// nothing acknowledged it was sent before the call arrived; on a new connection
// the first bytes are acknowledged at once (Linux tcp_input.c,
// tcp_event_data_recv: quick acks). EPIPE is a reset after an end of stream.
func (c *conn) notTaken(before uint64, err error) bool {
	acked, known := c.wire.acked()
	if !known || acked-c.wire.base > before {
		return false
	}
	return !c.reused || errors.Is(err, io.EOF) || errors.Is(err, syscall.EPIPE)
}

// readHeader reads the final response, after any interim ones.
func readHeader(br *bufio.Reader, h *fasthttp.ResponseHeader) error {
	for range 8 {
		if err := h.Read(br); err != nil {
			return err
		}
		if h.StatusCode()/100 != 1 || h.StatusCode() == fasthttp.StatusSwitchingProtocols {
			return nil
		}
	}
	return errors.New("too many interim responses")
}

// drain reads the body until its framing ends it, or maxBody bytes. An error
// means that it broke off before either.
func drain(br *bufio.Reader, h *fasthttp.ResponseHeader) (ended bool, err error) {
	const closed, chunked = -2, -1 // fasthttp's words in ContentLength
	switch n := h.ContentLength(); {
	case h.StatusCode()/100 == 1 || h.StatusCode() == fasthttp.StatusNoContent || h.StatusCode() == fasthttp.StatusNotModified:
		return true, nil
	case n == chunked:
		return drainChunked(br)
	case n == closed:
		read, err := io.Copy(io.Discard, io.LimitReader(br, maxBody))
		return read < maxBody, err
	default:
		_, err := io.CopyN(io.Discard, br, int64(min(n, maxBody)))
		return n <= maxBody, noEOF(err)
	}
}

func drainChunked(br *bufio.Reader) (ended bool, err error) {
	read, err := io.Copy(io.Discard, io.LimitReader(httputil.NewChunkedReader(br), maxBody))
	if err != nil || read == maxBody {
		return false, err
	}
	for range 64 { // trailer fields, ended by an empty line
		line, err := br.ReadSlice('\n')
		if err != nil {
			return false, noEOF(err)
		}
		if len(line) <= 2 {
			return true, nil
		}
	}
	return false, errors.New("too many trailer fields")
}

func noEOF(err error) error {
	if errors.Is(err, io.EOF) {
		return io.ErrUnexpectedEOF
	}
	return err
}
