package ackgate

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/remora-mq/remora/broker"
	"github.com/remora-mq/remora/dedupe"
	"github.com/remora-mq/remora/dedupe/local"
	"github.com/remora-mq/remora/internal/backoff"
	"github.com/remora-mq/remora/internal/kv"
	"github.com/remora-mq/remora/message"
	"github.com/remora-mq/remora/push"
)

// house is a sidecar's consuming half over real HTTP and a real store, whose
// broker redelivers what was not acked.
type house struct {
	t        *testing.T
	dir      string
	journal  string
	handler  http.HandlerFunc
	key      KeyRule
	attempts int // that a message has; 0: as many as by default
	server   *httptest.Server
	wrap     func(dedupe.Store) dedupe.Store // stands between gate and store

	mu   sync.Mutex
	seen []*http.Request
	keys []string
	body [][]byte
}

func newHouse(t *testing.T, handler http.HandlerFunc) *house {
	h := &house{t: t, dir: t.TempDir(), journal: t.TempDir(), handler: handler, wrap: func(s dedupe.Store) dedupe.Store { return s }}
	h.server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		h.mu.Lock()
		h.seen, h.keys, h.body = append(h.seen, r), append(h.keys, r.Header.Get("Idempotency-Key")), append(h.body, body)
		h.mu.Unlock()
		h.handler(w, r)
	}))
	t.Cleanup(h.server.Close)
	return h
}

func (h *house) calls() int {
	h.mu.Lock()
	defer h.mu.Unlock()
	return len(h.seen)
}

// once is a consumer of one delivery.
type once struct {
	*fakeConsumer
	d   *message.Delivery
	err error
}

func (o *once) Consume(ctx context.Context, receive broker.Receiver) error {
	o.err = receive(ctx, o.d)
	return nil
}

// live runs a sidecar for one delivery and reports whether it was acked.
func (h *house) live(ctx context.Context, d *message.Delivery) (acked bool) {
	h.t.Helper()
	db, err := kv.Open(context.Background(), kv.Options{Dir: h.dir, MemTableSize: 1 << 20, CloseWait: 2 * time.Minute})
	h.no(err)
	store, err := local.Open(db, local.Options{Window: time.Hour, Journal: filepath.Join(h.journal, "begun")})
	h.no(err)
	_, err = store.Begin(ctx, dedupe.Key{Key: "the first one, by a commit: others need none"}, dedupe.Fingerprint{}, time.Minute)
	h.no(err)
	client, err := push.New(push.Options{URL: h.server.URL})
	h.no(err)
	c := &once{fakeConsumer: (*fakeConsumer)(newScene(h.t)), d: d}
	o := Options{
		Subscription: "billing", Scope: "s", Key: h.key, Store: "local", Grace: -1, Timeout: time.Minute, MaxAttempts: h.attempts,
		Retry: backoff.Policy{Initial: time.Millisecond, Max: 5 * time.Millisecond}, Probe: backoff.Policy{Initial: time.Millisecond},
	}
	h.no(New(o, c, h.wrap(store), client, nil, nil, nil).Run(ctx))
	h.no(errors.Join(client.Close(), store.Close(), db.Close()))
	return c.err == nil
}

func (h *house) no(err error) {
	h.t.Helper()
	if err != nil {
		h.t.Fatal(err)
	}
}

// dying is a store of a process that dies at a point: what it does after that
// never happened.
type dying struct {
	dedupe.Store
	die      context.CancelFunc
	atDone   bool // before done is written
	atDoneOK bool // after
}

func (d *dying) Done(ctx context.Context, k dedupe.Key, m dedupe.Mark) error {
	if d.atDone {
		d.die()
		return errFake
	}
	err := d.Store.Done(ctx, k, m)
	if d.atDoneOK {
		d.die()
	}
	return err
}

func (d *dying) Release(context.Context, dedupe.Key, dedupe.Mark, bool) error { return errFake }

// Crash table: handler answered 200, not recorded.
func TestHandlerAnswered200NotRecorded(t *testing.T) {
	h := newHouse(t, func(http.ResponseWriter, *http.Request) {})
	ctx, die := context.WithCancel(t.Context())
	h.wrap = func(s dedupe.Store) dedupe.Store { return &dying{Store: s, die: die, atDone: true} }
	h.live(ctx, delivery("a")) // its ack is never sent: the process is gone
	h.wrap = func(s dedupe.Store) dedupe.Store { return s }
	if !h.live(t.Context(), delivery("a")) {
		t.Error("the redelivered message is not acked")
	}
	if h.calls() != 2 || h.keys[0] != h.keys[1] || h.keys[0] != `"a"` {
		t.Errorf("%d calls, keys %q; want 2 under one key", h.calls(), h.keys)
	}
	if got := h.seen[1].Header.Get("MQ-Attempt"); got != "2" {
		t.Errorf("the second call is attempt %q", got)
	}
}

// Crash table: dedupe done, broker not acked.
func TestDedupeDoneBrokerNotAcked(t *testing.T) {
	h := newHouse(t, func(http.ResponseWriter, *http.Request) {})
	ctx, die := context.WithCancel(t.Context())
	h.wrap = func(s dedupe.Store) dedupe.Store { return &dying{Store: s, die: die, atDoneOK: true} }
	h.live(ctx, delivery("a"))
	h.wrap = func(s dedupe.Store) dedupe.Store { return s }
	if !h.live(t.Context(), delivery("a")) {
		t.Error("the redelivered message is not acked")
	}
	if h.calls() != 1 {
		t.Errorf("%d calls after a recorded done", h.calls())
	}
}

// A kill between the broker's confirmation of a dead letter and the group's offset delivers
// the message again, beside its dead letter. Under its identity: one that had all its
// attempts is called for no more, and once it is handled its dead letter is a repeat.
func TestDeadLetterBrokerNotAcked(t *testing.T) {
	status := http.StatusUnprocessableEntity
	for name, tc := range map[string]struct {
		dies    bool // before it forgets the count
		attempt string
	}{"killed before its count is forgotten": {true, "2"}, "killed after that": {false, "1"}} {
		t.Run(name, func(t *testing.T) {
			h := newHouse(t, func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(status) })
			h.wrap = func(s dedupe.Store) dedupe.Store { return &remembering{s, tc.dies} }
			status = http.StatusUnprocessableEntity
			if !h.live(t.Context(), delivery("a")) { // the offset is not written: the process is gone
				t.Fatal("no dead letter")
			}
			h.wrap, status = func(s dedupe.Store) dedupe.Store { return s }, http.StatusOK
			if !h.live(t.Context(), delivery("a")) || h.calls() != 2 || h.keys[0] != h.keys[1] || h.seen[1].Header.Get("MQ-Attempt") != tc.attempt {
				t.Errorf("delivered again: %d calls, keys %q, %v", h.calls(), h.keys, h.seen[len(h.seen)-1].Header)
			}
			if !h.live(t.Context(), delivery("a")) || h.calls() != 2 {
				t.Errorf("redriven: %d calls", h.calls())
			}
		})
	}
	t.Run("out of attempts, killed before its count is forgotten", func(t *testing.T) {
		h := newHouse(t, func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusInternalServerError) })
		h.wrap, h.attempts = func(s dedupe.Store) dedupe.Store { return &remembering{s, true} }, 2
		for range 2 {
			if !h.live(t.Context(), delivery("a")) || h.calls() != 2 {
				t.Errorf("%d calls", h.calls())
			}
		}
	})
}

// remembering is a store of a process that may die before it forgets a dead letter.
type remembering struct {
	dedupe.Store
	dies bool
}

func (s *remembering) Forget(ctx context.Context, k dedupe.Key, m dedupe.Mark) error {
	if s.dies {
		return dedupe.ErrClosed
	}
	return s.Store.Forget(ctx, k, m)
}

// A process that dies in the call leaves the count, not the lease.
func TestDiedInTheCall(t *testing.T) {
	entered := make(chan struct{}, 1)
	h := newHouse(t, func(_ http.ResponseWriter, r *http.Request) {
		entered <- struct{}{}
		<-r.Context().Done()
	})
	ctx, die := context.WithCancel(t.Context())
	h.wrap = func(s dedupe.Store) dedupe.Store { return &dying{Store: s} }
	go func() { <-entered; die() }()
	if h.live(ctx, delivery("a")) {
		t.Fatal("acked without an answer")
	}
	h.wrap, h.handler = func(s dedupe.Store) dedupe.Store { return s }, func(http.ResponseWriter, *http.Request) {}
	if !h.live(t.Context(), delivery("a")) || h.seen[1].Header.Get("MQ-Attempt") != "2" {
		t.Errorf("after the crash: attempt %q", h.seen[1].Header.Get("MQ-Attempt"))
	}
}

// Everything together: a handler that fails in many ways gets the bytes until
// it answers 200.
func TestFailingHandlerOverHTTP(t *testing.T) {
	bad := []http.HandlerFunc{
		func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusInternalServerError) },
		func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusCreated) },
		func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusNoContent) },
		func(w http.ResponseWriter, r *http.Request) { http.Redirect(w, r, "/elsewhere", http.StatusFound) },
		func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) },
		func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Length", "10")
			_, _ = io.WriteString(w, "short")
			panic(http.ErrAbortHandler)
		},
	}
	n := 0
	h := newHouse(t, func(w http.ResponseWriter, r *http.Request) {
		if n++; n <= len(bad) {
			bad[n-1](w, r)
			return
		}
		_, _ = io.WriteString(w, strings.Repeat("thanks ", 1<<20))
	})
	d := delivery("a")
	d.Body = bytes.Repeat([]byte{0, 1, 2, 254, 255, '\r', '\n'}, 10000)
	if !h.live(t.Context(), d) {
		t.Fatal("not acked")
	}
	if h.calls() != len(bad)+1 {
		t.Errorf("%d calls", h.calls())
	}
	for i, body := range h.body {
		if !bytes.Equal(body, d.Body) {
			t.Errorf("call %d had other bytes", i+1)
		}
	}
}
