package main

import (
	"context"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"strings"
	"sync"
	"time"
)

// demoHandler is the application that receives. It answers 500 now and then.
type demoHandler struct {
	server   *http.Server
	listener net.Listener
	failing  int // percent

	mu      sync.Mutex
	random  *rand.Rand
	done    map[string]string // by message ID: the sidecar's run to which 200 was answered
	number  map[string]int    // by message ID: what its body said; -1: other bytes
	refused int               // calls answered 500
	calls   int
	again   int           // calls for a message that an earlier run was answered 200 for
	twice   []string      // message IDs that one run called for again after a 200
	changed chan struct{} // closed and replaced when done has grown
}

func newDemoHandler(seed uint64, failing int) (*demoHandler, error) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, fmt.Errorf("listen for deliveries: %w", err)
	}
	h := &demoHandler{
		listener: ln, failing: failing, random: rand.New(rand.NewPCG(seed, 1<<32)),
		done: map[string]string{}, number: map[string]int{}, changed: make(chan struct{}),
	}
	h.server = &http.Server{Handler: h, ReadHeaderTimeout: 10 * time.Second}
	go func() { _ = h.server.Serve(ln) }() // ends with close
	return h, nil
}

func (h *demoHandler) url() string { return "http://" + h.listener.Addr().String() + "/" }

func (h *demoHandler) close() { _ = h.server.Close() }

// ServeHTTP implements http.Handler.
func (h *demoHandler) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(r.Body)
	if err != nil {
		return // the sidecar died while it was sending
	}
	run, _, _ := strings.Cut(r.Header.Get("Mq-Delivery-Id"), "-") // each start of the sidecar has its own
	w.WriteHeader(h.receive(r.Header.Get("Mq-Message-Id"), run, body))
}

// receive records a call and decides its answer.
func (h *demoHandler) receive(id, run string, body []byte) (status int) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.calls++
	if _, known := h.done[id]; known {
		h.repeat(id, run)
		return http.StatusOK
	}
	if h.random.IntN(100) < h.failing {
		h.refused++
		return http.StatusInternalServerError
	}
	number := -1
	if n, err := fmt.Sscanf(string(body), "message %d", &number); n != 1 || err != nil || string(demoBody(number)) != string(body) {
		number = -1
	}
	h.done[id], h.number[id] = run, number
	close(h.changed)
	h.changed = make(chan struct{})
	return http.StatusOK
}

// repeat is right only for a 200 whose record the kill prevented.
func (h *demoHandler) repeat(id, run string) {
	if h.done[id] == run {
		h.twice = append(h.twice, id)
		return
	}
	h.again++
	h.done[id] = run
}

func (h *demoHandler) handled() int {
	h.mu.Lock()
	defer h.mu.Unlock()
	return len(h.done)
}

// handlerCounts is a view of one moment.
type handlerCounts struct{ calls, handled, refused, again int }

func (h *demoHandler) counts() handlerCounts {
	h.mu.Lock()
	defer h.mu.Unlock()
	return handlerCounts{h.calls, len(h.done), h.refused, h.again}
}

// has waits until every one of ids was answered 200.
func (h *demoHandler) has(ctx context.Context, ids []string) error {
	for {
		missing, changed := h.missing(ids)
		if missing == 0 {
			return nil
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return fmt.Errorf("%d accepted messages have not reached the handler: %w", missing, ctx.Err())
		}
	}
}

func (h *demoHandler) missing(ids []string) (n int, changed <-chan struct{}) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, id := range ids {
		if _, ok := h.done[id]; !ok {
			n++
		}
	}
	return n, h.changed
}
