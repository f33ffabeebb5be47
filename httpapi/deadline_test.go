package httpapi

import (
	"net"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/valyala/fasthttp"
)

// timed is a socket that notes how long from now its deadlines are.
type timed struct {
	net.Conn

	reads, writes []time.Duration
}

func (c *timed) Read(p []byte) (int, error) { return copy(p, "x"), nil }

func (c *timed) SetReadDeadline(t time.Time) error {
	c.reads = append(c.reads, time.Until(t))
	return nil
}

func (c *timed) SetWriteDeadline(t time.Time) error {
	c.writes = append(c.writes, time.Until(t))
	return nil
}

func TestReadDeadlineIsSetForWhoWaits(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		socket := &timed{}
		c := newConn(socket, timeouts{read: 10 * time.Second})
		if !c.awaitRequest(time.Minute) {
			t.Fatal("no request came")
		}
		want := []time.Duration{time.Minute}
		for range 3 { // requests, one behind the other: what is read of one may be of the next
			for range 3 {
				_, _ = c.Read(make([]byte, 8))
				time.Sleep(time.Second)
			}
			connState(c, fasthttp.StateIdle)
			connState(c, fasthttp.StateActive)
			want = append(want, 10*time.Second)
		}
		if !slices.Equal(socket.reads, want) {
			t.Errorf("the socket got %v, want %v", socket.reads, want)
		}
	})
}

func TestWaitForTheNextRequestEndsEarlyByHalfAtMost(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		socket := &timed{}
		c := newConn(socket, timeouts{})
		began := time.Now()
		for range 1000 {
			c.idle = true
			_, _ = c.Read(make([]byte, 8))
			if left := time.Until(c.reads); left > parkAfter || left <= parkAfter/2 {
				t.Fatalf("after %s it ends in %s", time.Since(began), left)
			}
			time.Sleep(time.Millisecond)
		}
		if n := len(socket.reads); n < 4 || n > 10 {
			t.Errorf("%d deadlines were set in 1,000 requests of a second", n)
		}
	})
}

func TestWriteDeadlineIsEarlyByItsSlackAtMost(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		socket := &timed{}
		c := newConn(socket, timeouts{slack: time.Second})
		for range 100 {
			_ = c.SetWriteDeadline(time.Now().Add(8 * time.Second))
			if left := time.Until(c.writes); left > 8*time.Second || left <= 7*time.Second {
				t.Fatalf("writes end in %s", left)
			}
			time.Sleep(100 * time.Millisecond)
		}
		if n := len(socket.writes); n != 10 {
			t.Errorf("%d deadlines were set in 10 seconds: %v", n, socket.writes)
		}
		_ = c.SetWriteDeadline(time.Now().Add(time.Second)) // shorter than what stands
		if left := time.Until(c.writes); left != time.Second {
			t.Errorf("writes end in %s, want a second", left)
		}
	})
}
