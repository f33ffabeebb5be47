package push

import (
	"context"
	"io"
	"net"
	"net/http"
	"sync"
	"testing"
	"time"
)

// whenTold answers when the test says so.
func whenTold(told chan struct{}, s string) reply {
	return func(c *net.TCPConn, _ *http.Request) bool {
		<-told
		_, _ = io.WriteString(c, s)
		return true
	}
}

func lateCall() *Call {
	c := aCall("x")
	c.MayBeLate = true
	return c
}

// timeOf is a context whose time is over when over is closed, however long it takes
// until there is a connection.
type timeOf struct {
	context.Context
	over chan struct{}
}

func (d timeOf) Done() <-chan struct{} { return d.over }

func (d timeOf) Err() error {
	select {
	case <-d.over:
		return context.DeadlineExceeded
	default:
		return nil
	}
}

// handed has the time of a call be over when a handler has it.
func handed(t *testing.T, answer reply) (timeOf, reply) {
	d := timeOf{t.Context(), make(chan struct{})}
	over := sync.OnceFunc(func() { close(d.over) })
	t.Cleanup(over)
	return d, func(c *net.TCPConn, req *http.Request) bool {
		over()
		return answer(c, req)
	}
}

func TestAnswerAfterItsTime(t *testing.T) {
	told := make(chan struct{})
	brief, answer := handed(t, whenTold(told, "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"))
	h := serve(t, answer)
	c := newClient(t, Options{URL: h.url()})
	got := c.Deliver(brief, lateCall())
	if got.Disposition != Retry || got.Code() != "timeout" || got.Late == nil {
		t.Fatalf("in time: %v, %s, %v", got.Disposition, got.Code(), got.Err)
	}
	close(told)
	if late := got.Late(within(t, time.Minute)); late.Disposition != Done || late.Status != 200 {
		t.Fatalf("late: %v, %v", late.Disposition, late.Err)
	}
	wantDone(t, c.Deliver(within(t, time.Minute), lateCall()))
	if n := h.conns.Load(); n != 1 {
		t.Errorf("%d connections; the late one can be used again", n)
	}
}

// TestAnswerEndsAfterItsTime, wherever in it that was over.
func TestAnswerEndsAfterItsTime(t *testing.T) {
	for name, parts := range map[string][2]string{
		"in the header":  {"HTTP/1.1 200 OK\r\nContent-Le", "ngth: 2\r\n\r\nok"},
		"behind a 100":   {"HTTP/1.1 100 Continue\r\n\r\n", "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"},
		"in the body":    {"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\no", "k"},
		"between chunks": {"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n", "0\r\n\r\n"},
		"within a chunk": {"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\no", "k\r\n0\r\n\r\n"},
		"in a trailer":   {"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\nX-Sum: ", "1\r\n\r\n"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			told := make(chan struct{})
			tell := sync.OnceFunc(func() { close(told) })
			h := serve(t, func(c *net.TCPConn, _ *http.Request) bool {
				_, _ = io.WriteString(c, parts[0])
				<-told
				_, _ = io.WriteString(c, parts[1])
				return true
			})
			t.Cleanup(tell)
			c := newClient(t, Options{URL: h.url()})
			call := lateCall()
			call.Timeout = 3 * time.Second // the answer has begun by then
			got := c.Deliver(t.Context(), call)
			if got.Disposition != Retry || got.Code() != "timeout" || got.Late == nil {
				t.Fatalf("in time: %v, %s, %v", got.Disposition, got.Code(), got.Err)
			}
			tell()
			if late := got.Late(within(t, time.Minute)); late.Disposition != Done || late.Status != 200 {
				t.Fatalf("late: %v, %v", late.Disposition, late.Err)
			}
			wantDone(t, c.Deliver(within(t, time.Minute), lateCall()))
			if n := h.conns.Load(); n != 1 {
				t.Errorf("%d connections; the late one can be used again", n)
			}
		})
	}
}

// TestWaitingForTheEndOfAnAnswerEnds where it never comes, or breaks off.
func TestWaitingForTheEndOfAnAnswerEnds(t *testing.T) {
	for name, goesOn := range map[string]bool{"never": true, "breaks off": false} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			told, closed := make(chan struct{}), make(chan struct{})
			tell := sync.OnceFunc(func() { close(told) })
			h := serve(t, func(c *net.TCPConn, _ *http.Request) bool {
				_, _ = io.WriteString(c, "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\no")
				<-told
				if goesOn {
					_, _ = io.Copy(io.Discard, c)
				}
				close(closed)
				return false
			})
			t.Cleanup(tell)
			got := newClient(t, Options{URL: h.url()}).Deliver(within(t, 3*time.Second), lateCall())
			if got.Late == nil {
				t.Fatalf("in time: %v", got.Err)
			}
			tell()
			late := got.Late(within(t, 200*time.Millisecond))
			if late.Disposition != Retry || late.Err == nil {
				t.Errorf("late: %v, %v", late.Disposition, late.Err)
			}
			<-closed
		})
	}
}

// TestListeningToALateAnswerEnds: the handler is told then.
func TestListeningToALateAnswerEnds(t *testing.T) {
	closed := make(chan struct{})
	brief, answer := handed(t, func(c *net.TCPConn, _ *http.Request) bool {
		_, _ = io.Copy(io.Discard, c)
		close(closed)
		return false
	})
	h := serve(t, answer)
	got := newClient(t, Options{URL: h.url()}).Deliver(brief, lateCall())
	if got.Late == nil {
		t.Fatalf("in time: %v", got.Err)
	}
	select {
	case <-closed:
		t.Fatal("the connection was closed before anybody had listened")
	default:
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if late := got.Late(ctx); late.Disposition != Retry || late.Err == nil {
		t.Errorf("late: %v, %v", late.Disposition, late.Err)
	}
	<-closed
}

// Only a call that was cut off by its time, unanswered, may be answered late.
func TestWhatIsNotLate(t *testing.T) {
	tests := map[string]struct {
		answer reply
		call   *Call
		time   time.Duration
		cancel bool
	}{
		"nobody asked":        {text(""), aCall("x"), 200 * time.Millisecond, false},
		"cancelled":           {text(""), lateCall(), time.Minute, true},
		"begun, nobody asked": {text("HTTP/1.1 200 OK\r\n"), aCall("x"), 200 * time.Millisecond, false},
		"begun, cancelled":    {text("HTTP/1.1 200 OK\r\n"), lateCall(), time.Minute, true},
		"answered":            {text("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"), lateCall(), time.Minute, false},
		"answered by 500":     {text("HTTP/1.1 500 No\r\nContent-Length: 0\r\n\r\n"), lateCall(), time.Minute, false},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			ctx, cancel := context.WithTimeout(t.Context(), tt.time)
			defer cancel()
			h := serve(t, func(c *net.TCPConn, req *http.Request) bool {
				goesOn := tt.answer(c, req)
				if tt.cancel {
					cancel()
				}
				return goesOn
			})
			if got := newClient(t, Options{URL: h.url()}).Deliver(ctx, tt.call); got.Late != nil {
				t.Errorf("%v, %v may be answered late", got.Disposition, got.Err)
			}
		})
	}
}
