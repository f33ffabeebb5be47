//go:build unix

package push

import (
	"bytes"
	"crypto/tls"
	"crypto/x509"
	"net"
	"net/http"
	"net/http/httptest"
	"sync/atomic"
	"testing"
)

// An answer that no call asked for is not taken for that of the next call: neither
// when it is in records of its own that came along with the first, nor in the
// kernel.
func TestUnaskedAnswerOverTLS(t *testing.T) {
	for name, inOne := range map[string]bool{"in one piece": true, "one by one": false} {
		t.Run(name, func(t *testing.T) {
			h, roots := speakTLS(t, inOne)
			c := newClient(t, Options{URL: "https://" + h.Addr().String(), TLS: &tls.Config{RootCAs: roots}})
			wantDone(t, c.Deliver(t.Context(), aCall("x")))
			<-h.said
			if a := c.Deliver(t.Context(), aCall("y")); a.Status != http.StatusInternalServerError {
				t.Errorf("%v, status %d, of a handler that fails: %v", a.Disposition, a.Status, a.Err)
			}
		})
	}
}

// speaker answers its first call twice, and fails all others.
type speaker struct {
	net.Listener

	config *tls.Config
	calls  atomic.Int64
	inOne  bool
	said   chan struct{} // closed: both answers are
}

func speakTLS(t *testing.T, inOne bool) (*speaker, *x509.CertPool) {
	t.Helper()
	identity := httptest.NewTLSServer(http.NotFoundHandler())
	identity.Close()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = l.Close() })
	h := &speaker{l, &tls.Config{Certificates: identity.TLS.Certificates}, atomic.Int64{}, inOne, make(chan struct{})}
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go h.serve(c)
		}
	}()
	roots := x509.NewCertPool()
	roots.AddCert(identity.Certificate())
	return h, roots
}

func (h *speaker) serve(raw net.Conn) {
	defer raw.Close()
	held := &heldConn{Conn: raw}
	c := tls.Server(held, h.config)
	for b := make([]byte, 64<<10); ; {
		if _, err := c.Read(b); err != nil {
			return
		}
		if h.calls.Add(1) > 1 {
			_, _ = c.Write([]byte("HTTP/1.1 500 Broken\r\nContent-Length: 0\r\n\r\n"))
			continue
		}
		held.holds = h.inOne
		for range 2 {
			_, _ = c.Write([]byte("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"))
		}
		held.holds = false
		_, _ = held.Write(nil)
		close(h.said)
	}
}

// heldConn keeps what is written while it holds, and writes that first then.
type heldConn struct {
	net.Conn

	holds bool
	kept  bytes.Buffer
}

func (c *heldConn) Write(p []byte) (int, error) {
	c.kept.Write(p)
	if c.holds {
		return len(p), nil
	}
	_, err := c.kept.WriteTo(c.Conn)
	return len(p), err
}
