package server

import (
	"io"
	"net"
	"sync"
	"sync/atomic"
	"testing"
)

// Proxy stands before a server and can lose its answers.
type Proxy struct {
	to     string
	ln     net.Listener
	losing atomic.Bool
	lost   atomic.Int64
	open   sync.WaitGroup
}

// NewProxy listens until the end of the test.
func NewProxy(t testing.TB, s *Server) *Proxy {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	p := &Proxy{to: s.Addr(), ln: ln}
	p.open.Go(p.accept)
	t.Cleanup(func() {
		_ = ln.Close()
		p.open.Wait()
	})
	return p
}

// Addr is its host:port.
func (p *Proxy) Addr() string { return p.ln.Addr().String() }

// Lose has the server do what it is asked, and every answer lost with its
// connection, or ends that.
func (p *Proxy) Lose(yes bool) { p.losing.Store(yes) }

// Lost is how many answers were.
func (p *Proxy) Lost() int64 { return p.lost.Load() }

func (p *Proxy) accept() {
	for {
		client, err := p.ln.Accept()
		if err != nil {
			return
		}
		p.open.Go(func() { p.join(client) })
	}
}

// join ends when either side does: both are closed then.
func (p *Proxy) join(client net.Conn) {
	defer client.Close()
	server, err := net.Dial("tcp", p.to)
	if err != nil {
		return
	}
	defer server.Close()
	p.open.Go(func() {
		_, _ = io.Copy(server, client)
		_ = server.Close()
	})
	b := make([]byte, 64<<10)
	for {
		n, err := server.Read(b)
		if n > 0 && p.losing.Load() {
			p.lost.Add(1)
			return
		}
		if _, sent := client.Write(b[:n]); err != nil || sent != nil {
			return
		}
	}
}
