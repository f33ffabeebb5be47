package e2e

import (
	"io"
	"net"
	"net/http"
	"strconv"
	"sync/atomic"
	"time"
)

// drip begins a 200 and sends a byte of it now and then, for longer than a call may
// take.
func drip(v *visit) {
	v.hijack(func(conn net.Conn) {
		for _, b := range []byte("HTTP/1.1 200 OK\r\nX-Drip: " + string(make([]byte, 100))) {
			if _, err := conn.Write([]byte{b | ' '}); err != nil {
				return
			}
			time.Sleep(100 * time.Millisecond)
		}
	})
}

// resetIn200 resets the connection in the middle of a 200.
func resetIn200(v *visit) {
	v.hijack(func(conn net.Conn) {
		_, _ = conn.Write([]byte("HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhalf"))
		if tcp, ok := conn.(*net.TCPConn); ok {
			_ = tcp.SetLinger(0)
		}
	})
}

// late is a 200 after the timeout, to whoever still listens.
func late(v *visit) {
	select {
	case <-time.After(handlerTimeout + 300*time.Millisecond):
		done(v)
	case <-v.r.Context().Done():
		v.finish(false, func() {})
	}
}

// endless is the size of an answer that nobody wants.
const endless = 100_000_000

// huge answers so, with a body of 100 MB; how much of it is sent is up to the reader.
func huge(code int) answer {
	return func(v *visit) {
		v.finish(code == http.StatusOK, func() {
			v.w.Header().Set("Content-Length", strconv.Itoa(endless))
			v.w.WriteHeader(code)
			_, _ = io.CopyN(v.w, zeros{}, endless)
		})
	}
}

type zeros struct{}

func (zeros) Read(p []byte) (int, error) { clear(p); return len(p), nil }

// worse is moody, with what an application does at its worst.
func worse(seed uint64) func(*visit) answer {
	moody := moody(seed)
	rare := []answer{drip, drip, late, late, resetIn200, resetIn200, huge(http.StatusOK), huge(http.StatusInternalServerError)}
	return func(v *visit) answer {
		if n := v.draw(seed+1, 400); n < uint64(len(rare)) {
			return rare[n]
		}
		return moody(v)
	}
}

// storm has every call fail while it is on. It is killed and started as a node.
type storm struct{ on atomic.Bool }

func (*storm) Name() string   { return "storm" }
func (s *storm) Kill() error  { s.on.Store(true); return nil }
func (s *storm) Start() error { s.on.Store(false); return nil }

func (s *storm) over(choose func(*visit) answer) func(*visit) answer {
	return func(v *visit) answer {
		if s.on.Load() {
			return status(http.StatusInternalServerError)
		}
		return choose(v)
	}
}
