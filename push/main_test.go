package push

import (
	"bufio"
	"context"
	"io"
	"net"
	"net/http"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/remora-mq/remora/message"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// rawHandler answers with bytes instead of responses, so that it can break
// them off anywhere.
type rawHandler struct {
	ln    net.Listener
	calls atomic.Int32 // whole requests read
	conns atomic.Int32

	wg   sync.WaitGroup
	mu   sync.Mutex
	open []net.Conn
}

// reply is called for each request; it returns whether the connection is kept.
type reply func(c *net.TCPConn, req *http.Request) (keep bool)

func serve(t *testing.T, answer reply) *rawHandler {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	h := &rawHandler{ln: ln}
	h.wg.Go(func() { h.accept(answer) })
	t.Cleanup(h.stop)
	return h
}

func (h *rawHandler) url() string { return "http://" + h.ln.Addr().String() + "/on-order" }

func (h *rawHandler) accept(answer reply) {
	for {
		c, err := h.ln.Accept()
		if err != nil {
			return
		}
		h.mu.Lock()
		h.open = append(h.open, c)
		h.mu.Unlock()
		h.conns.Add(1)
		h.wg.Go(func() { h.talk(c.(*net.TCPConn), answer) })
	}
}

func (h *rawHandler) talk(c *net.TCPConn, answer reply) {
	defer c.Close()
	br := bufio.NewReader(c)
	for {
		req, err := http.ReadRequest(br)
		if err != nil {
			return
		}
		body, err := io.ReadAll(req.Body)
		if err != nil {
			return
		}
		req.Body = io.NopCloser(&memory{body})
		h.calls.Add(1)
		if !answer(c, req) {
			return
		}
	}
}

type memory struct{ b []byte }

func (m *memory) Read(p []byte) (int, error) {
	if len(m.b) == 0 {
		return 0, io.EOF
	}
	n := copy(p, m.b)
	m.b = m.b[n:]
	return n, nil
}

// closeConns ends every connection from the handler's side.
func (h *rawHandler) closeConns() {
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, c := range h.open {
		_ = c.Close()
	}
	h.open = nil
}

func (h *rawHandler) resetConns() {
	h.mu.Lock()
	for _, c := range h.open {
		_ = c.(*net.TCPConn).SetLinger(0)
	}
	h.mu.Unlock()
	h.closeConns()
}

func (h *rawHandler) stop() {
	_ = h.ln.Close()
	h.closeConns()
	h.wg.Wait()
}

func text(s string) reply {
	return func(c *net.TCPConn, _ *http.Request) bool {
		_, _ = io.WriteString(c, s)
		return true
	}
}

func newClient(t *testing.T, o Options) *Client {
	t.Helper()
	c, err := New(o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	return c
}

func aCall(body string) *Call {
	d := &message.Delivery{Identity: "7F0000010000000100000000075BCD15", Group: "billing", Attempt: 1}
	d.Topic, d.Body = "orders", []byte(body)
	return &Call{Delivery: d, ID: "call-1", Attempt: 1, MaxAttempts: 16}
}

func within(t *testing.T, d time.Duration) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), d)
	t.Cleanup(cancel)
	return ctx
}
