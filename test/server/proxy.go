package server

import (
	"bytes"
	"io"
	"net"
	"sync"
	"sync/atomic"
	"testing"
)

// Proxy stands before a server, can lose its answers, hold a question, and hang.
type Proxy struct {
	to     atomic.Pointer[string]
	ln     net.Listener
	losing atomic.Bool
	lost   atomic.Int64
	hung   atomic.Int64 // of the connections, by their number, those up to it
	held   atomic.Pointer[held]
	open   sync.WaitGroup
}

// held is what does not get on to the server yet.
type held struct {
	text []byte
	went chan struct{}
}

// NewProxy listens until the end of the test.
func NewProxy(t testing.TB, s *Server) *Proxy {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	p := &Proxy{ln: ln}
	p.Move(s)
	p.open.Go(p.accept)
	t.Cleanup(func() {
		_ = ln.Close()
		p.open.Wait()
	})
	return p
}

// Addr is its host:port.
func (p *Proxy) Addr() string { return p.ln.Addr().String() }

// Move leads connections to another server from now on. Those that there are stay where
// they lead.
func (p *Proxy) Move(s *Server) { p.to.Store(new(s.Addr())) }

// Lose has the server do what it is asked, and every answer lost with its
// connection, or ends that.
func (p *Proxy) Lose(yes bool) { p.losing.Store(yes) }

// Lost is how many answers were.
func (p *Proxy) Lost() int64 { return p.lost.Load() }

// Hang has nothing pass any more, in either direction, over the first n connections
// that there were, which stay open. Others are not concerned.
func (p *Proxy) Hang(n int64) { p.hung.Store(n) }

// Hold keeps the next of what goes to the server and has the text in it, and all that
// follows over its connection, until it is let go. Others are not concerned.
func (p *Proxy) Hold(t testing.TB, text string) (letGo func()) {
	t.Helper()
	h := &held{[]byte(text), make(chan struct{})}
	p.held.Store(h)
	letGo = sync.OnceFunc(func() { close(h.went) })
	t.Cleanup(letGo)
	return letGo
}

// Holds reports whether what Hold was called for last has come.
func (p *Proxy) Holds() bool { return p.held.Load() == nil }

// asking is what reaches the server, unless it is held.
type asking struct{ passing }

func (w asking) Write(b []byte) (int, error) {
	if h := w.p.held.Load(); h != nil && bytes.Contains(b, h.text) && w.p.held.CompareAndSwap(h, nil) {
		<-h.went
	}
	return w.passing.Write(b)
}

func (p *Proxy) accept() {
	for n := int64(1); ; n++ {
		client, err := p.ln.Accept()
		if err != nil {
			return
		}
		p.open.Go(func() { p.join(client, n) })
	}
}

// passing is what reaches a connection while it does not hang.
type passing struct {
	to net.Conn
	p  *Proxy
	n  int64
}

func (w passing) Write(b []byte) (int, error) {
	if w.p.hung.Load() >= w.n {
		return len(b), nil
	}
	return w.to.Write(b)
}

// join ends when either side does: both are closed then.
func (p *Proxy) join(client net.Conn, number int64) {
	defer client.Close()
	server, err := net.Dial("tcp", *p.to.Load())
	if err != nil {
		return
	}
	defer server.Close()
	p.open.Go(func() {
		_, _ = io.Copy(asking{passing{server, p, number}}, client)
		_ = server.Close()
	})
	b := make([]byte, 64<<10)
	for {
		n, err := server.Read(b)
		if n > 0 && p.losing.Load() {
			p.lost.Add(1)
			return
		}
		if _, sent := (passing{client, p, number}).Write(b[:n]); err != nil || sent != nil {
			return
		}
	}
}
