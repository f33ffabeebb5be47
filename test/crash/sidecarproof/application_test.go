package sidecarproof

import (
	"bytes"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"
)

// call is one call of the handler.
type call struct {
	id          string // message ID
	idempotency string // Idempotency-Key
	at          time.Time
}

// repeats reports whether c is of the message of the other, under the same key.
func (c call) repeats(other call) bool {
	return c.id == other.id && c.idempotency == other.idempotency
}

// application is a handler that compares each message with what was sent.
type application struct {
	sizes  sizes
	server *httptest.Server
	before func()                          // each answer; may be nil
	tells  func(transaction string) string // what it answers a check-back; nil: nothing that decides

	mu    sync.Mutex
	calls map[int][]call // by number
	wrong []string
	news  chan struct{} // has a value after a call
}

func newApplication(t testing.TB, s sizes) *application {
	a := &application{sizes: s, calls: map[int][]call{}, news: make(chan struct{}, 1)}
	mux := http.NewServeMux()
	mux.HandleFunc("/handle", a.handle)
	mux.HandleFunc("/tx", a.tell)
	a.server = httptest.NewServer(mux)
	t.Cleanup(a.server.Close)
	return a
}

func (a *application) url() string { return a.server.URL + "/handle" }

func (a *application) handle(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(r.Body)
	if err != nil {
		w.WriteHeader(http.StatusBadRequest) // the sidecar is gone
		return
	}
	a.note(r.Header, body)
	if a.before != nil {
		a.before()
	}
	w.WriteHeader(http.StatusOK)
}

func (a *application) note(h http.Header, body []byte) {
	a.mu.Lock()
	defer a.mu.Unlock()
	defer a.called()
	number := -1
	for _, p := range h.Values("MQ-Property") {
		if text, ok := strings.CutPrefix(p, "number="); ok {
			number, _ = strconv.Atoi(text)
		}
	}
	if number < 0 {
		a.wrong = append(a.wrong, fmt.Sprintf("a message that nobody sent: %v", h))
		return
	}
	if what := difference(a.sizes.message(number), h, body); what != "" {
		a.wrong = append(a.wrong, fmt.Sprintf("message %d arrived changed: %s", number, what))
	}
	a.calls[number] = append(a.calls[number], call{h.Get("MQ-Message-Id"), h.Get("Idempotency-Key"), time.Now()})
}

// tell answers a check-back.
func (a *application) tell(w http.ResponseWriter, r *http.Request) {
	if a.tells == nil {
		w.WriteHeader(http.StatusNotFound)
		return
	}
	_, _ = io.WriteString(w, a.tells(r.Header.Get("MQ-Transaction-Id")))
}

func (a *application) called() {
	select {
	case a.news <- struct{}{}:
	default:
	}
}

// difference says in what a delivery is not the message.
func difference(m message, h http.Header, body []byte) string {
	if !bytes.Equal(body, m.body) {
		return fmt.Sprintf("%d bytes of body, sent were %d", len(body), len(m.body))
	}
	for name, want := range map[string]string{
		"MQ-Topic": m.topic, "MQ-Tag": m.tag, "MQ-Key": m.key, "MQ-Ordering-Key": m.ordKey, "Content-Type": "application/octet-stream",
	} {
		if got := h.Get(name); got != want {
			return fmt.Sprintf("%s is %q, sent was %q", name, got, want)
		}
	}
	return ""
}

// seen returns the calls so far, and what was wrong with them.
func (a *application) seen() (calls map[int][]call, wrong []string) {
	a.mu.Lock()
	defer a.mu.Unlock()
	return maps.Clone(a.calls), a.wrong
}

// ids returns how many message IDs there were.
func (a *application) ids() int {
	a.mu.Lock()
	defer a.mu.Unlock()
	ids := map[string]bool{}
	for _, calls := range a.calls {
		for _, c := range calls {
			ids[c.id] = true
		}
	}
	return len(ids)
}
