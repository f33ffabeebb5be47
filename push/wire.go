package push

import (
	"context"
	"errors"
	"net"
	"os"
	"sync"
	"syscall"
	"time"
)

// wire is a TCP connection on which one conversation after the other has its end: a
// time, or that a context is done. Most end before either, so that neither costs
// anything: the deadline of an earlier conversation stays, and moves on when it is met
// and another conversation goes on; and the context of the one before is still watched
// when the next one has the same.
type wire struct {
	net.Conn
	raw syscall.RawConn

	wrote uint64 // bytes that the kernel took
	base  uint64 // bytes that it calls acknowledged where none was written
	polls bool   // Read waits for nothing

	mu    sync.Mutex
	done  <-chan struct{} // of the context that is watched; nil: none is
	stop  func() bool     // to watch it
	cut   bool            // it is done
	until time.Time       // the conversation's time is over; zero: never
	armed time.Time       // the deadline of Conn, not after until
}

func newWire(nc net.Conn) (*wire, error) {
	sc, ok := nc.(syscall.Conn)
	if !ok {
		return nil, errors.New("connection without a file descriptor")
	}
	raw, err := sc.SyscallConn()
	if err != nil {
		return nil, err
	}
	w := &wire{Conn: nc, raw: raw}
	w.base, _ = w.acked()
	return w, nil
}

// begin begins a conversation, and ends the one before.
func (w *wire) begin(ctx context.Context, until time.Time) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.until = until
	if done := ctx.Done(); done != w.done {
		w.watch(ctx, done)
	}
	if !until.IsZero() && (w.armed.IsZero() || until.Before(w.armed)) {
		w.arm()
	}
}

// watch has the context end what is read and written, instead of the one before. mu
// is held.
func (w *wire) watch(ctx context.Context, done <-chan struct{}) {
	if w.stop != nil {
		w.stop()
	}
	if w.cut {
		w.cut = false
		w.arm()
	}
	w.done, w.stop = done, context.AfterFunc(ctx, func() {
		w.mu.Lock()
		defer w.mu.Unlock()
		if w.done == done {
			w.cut = true
			_ = w.SetDeadline(time.Unix(1, 0))
		}
	})
}

func (w *wire) arm() {
	w.armed = w.until
	_ = w.SetDeadline(w.until) // it fails on a closed connection only
}

// goesOn reports whether a deadline was met that is none of this conversation.
func (w *wire) goesOn(err error) bool {
	if !errors.Is(err, os.ErrDeadlineExceeded) {
		return false
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.cut || over(w.until) {
		return false
	}
	w.arm()
	return true
}

// over reports whether a time has come. The zero time never does.
func over(t time.Time) bool { return !t.IsZero() && !time.Now().Before(t) }

// Read implements net.Conn.
func (w *wire) Read(p []byte) (n int, err error) {
	if w.polls {
		return w.poll(p)
	}
	for {
		if n, err = w.Conn.Read(p); err == nil || !w.goesOn(err) {
			return n, err
		}
	}
}

// Write implements net.Conn.
func (w *wire) Write(p []byte) (n int, err error) {
	for {
		m, err := w.Conn.Write(p[n:])
		n += m
		w.wrote += uint64(m)
		if err == nil || !w.goesOn(err) {
			return n, err
		}
	}
}

// Close implements net.Conn.
func (w *wire) Close() error {
	w.mu.Lock()
	if w.stop != nil {
		w.stop()
	}
	w.mu.Unlock()
	return w.Conn.Close()
}
