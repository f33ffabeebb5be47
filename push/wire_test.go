package push

import (
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"testing"
	"time"
)

// after answers each call so long after it came, and those behind them never.
func after(pauses ...time.Duration) reply {
	return func(c *net.TCPConn, req *http.Request) bool {
		if len(pauses) == 0 {
			_, _ = io.Copy(io.Discard, c)
			return false
		}
		pause := pauses[0]
		pauses = pauses[1:]
		time.Sleep(pause)
		return text(ok)(c, req)
	}
}

func timed(timeout time.Duration) *Call {
	call := aCall("x")
	call.Timeout = timeout
	return call
}

// A call on a kept connection has all its time, and no more, whatever time the calls
// before it had.
func TestEachCallHasItsOwnTime(t *testing.T) {
	h := serve(t, after(0, 3200*time.Millisecond, 0))
	c := newClient(t, Options{URL: h.url()})
	wantDone(t, c.Deliver(t.Context(), timed(3*time.Second)))
	wantDone(t, c.Deliver(t.Context(), timed(time.Minute)))
	wantDone(t, c.Deliver(t.Context(), timed(0)))
	if got := c.Deliver(t.Context(), timed(100*time.Millisecond)); got.Code() != "timeout" || !errors.Is(got.Err, context.DeadlineExceeded) {
		t.Errorf("silent for longer than its time: %s, %v", got.Code(), got.Err)
	}
	if n := h.conns.Load(); n != 1 {
		t.Errorf("%d connections for 4 calls", n)
	}
}

func TestNoTimeIsLeftToConnect(t *testing.T) {
	c := newClient(t, Options{URL: serve(t, text(ok)).url()})
	if got := c.Deliver(t.Context(), timed(time.Nanosecond)); got.Disposition != Unreachable {
		t.Errorf("got %v, %v", got.Disposition, got.Err)
	}
}

// A context ends its own calls, one after the other on one connection, and no other.
func TestEachCallHasItsOwnContext(t *testing.T) {
	sixth := make(chan struct{})
	n := 0
	h := serve(t, func(c *net.TCPConn, req *http.Request) bool {
		if n++; n == 6 {
			close(sixth)
			return true
		}
		return text(ok)(c, req)
	})
	c := newClient(t, Options{URL: h.url()})
	call := func(ctx context.Context) Answer { return c.Deliver(ctx, aCall("x")) }
	one, endOne := context.WithCancel(t.Context())
	two, endTwo := context.WithCancel(t.Context())
	defer endTwo()
	wantDone(t, call(one))
	wantDone(t, call(one))
	endOne()
	wantDone(t, call(two))
	wantDone(t, call(context.WithoutCancel(t.Context())))
	wantDone(t, call(two))
	go func() {
		<-sixth
		endTwo()
	}()
	if got := call(two); !errors.Is(got.Err, context.Canceled) {
		t.Errorf("cancelled: %v, %v", got.Disposition, got.Err)
	}
	if n := h.conns.Load(); n != 1 {
		t.Errorf("%d connections for 6 calls", n)
	}
}
