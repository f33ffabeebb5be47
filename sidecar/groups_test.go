package sidecar_test

import (
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/remora-mq/remora/config"
)

// picky is a handler that rejects what it is told, and notes all calls.
type picky struct {
	*httptest.Server

	mu      sync.Mutex
	rejects func(body string) int // status, 0: it is handled
	calls   []string              // body and attempt
}

func newPicky(t *testing.T, rejects func(body string) int) *picky {
	t.Helper()
	p := &picky{rejects: rejects}
	p.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		if err != nil {
			return
		}
		p.mu.Lock()
		defer p.mu.Unlock()
		p.calls = append(p.calls, string(body)+" "+r.Header.Get("MQ-Attempt"))
		if status := p.rejects(string(body)); status != 0 {
			w.WriteHeader(status)
		}
	}))
	t.Cleanup(p.Close)
	return p
}

// now takes another handler, and forgets the calls.
func (p *picky) now(rejects func(body string) int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.rejects, p.calls = rejects, nil
}

func (p *picky) called() []string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return slices.Sorted(slices.Values(p.calls))
}

// causes are the counts of dead letters of group billing, by cause.
func (r *running) causes() map[string]int {
	r.t.Helper()
	var answer struct {
		Items []struct {
			Cause    string
			Messages int
		}
	}
	if status := r.operate("GET", "/v1/groups/billing/dead-letters?group_by=cause", "", &answer); status != 200 {
		r.t.Fatalf("causes: %d", status)
	}
	all := map[string]int{}
	for _, i := range answer.Items {
		all[i.Cause] = i.Messages
	}
	return all
}

// changed runs an operation on dead letters of group billing to its end.
func (r *running) changed(kind, request string) (n int) {
	r.t.Helper()
	var op struct {
		ID, State, Detail string
		Changed           int
	}
	if status := r.operate("POST", "/v1/groups/billing/dead-letters/"+kind, request, &op); status != 202 {
		r.t.Fatalf("%s: %d", kind, status)
	}
	eventually(r.t, kind+" ends", func() bool {
		r.operate("GET", "/v1/operations/"+op.ID, "", &op)
		return op.State != "running"
	})
	if op.State != "done" {
		r.t.Errorf("%s: %+v", kind, op)
	}
	return op.Changed
}

func equalJSON(a, b any) bool {
	x, errX := json.Marshal(a)
	y, errY := json.Marshal(b)
	return errX == nil && errY == nil && string(x) == string(y)
}

// TestDeadLettersOfAGroup: what a handler rejects is listed by the cause; a redrive
// brings each exactly once to the handler, as a first attempt, and it is handled; a
// discard removes; that is so after a restart too, and told by the metrics.
func TestDeadLettersOfAGroup(t *testing.T) {
	rejects := func(body string) int {
		switch body[:1] {
		case "a":
			return 422
		case "b":
			return 500
		}
		return 0
	}
	handler := newPicky(t, rejects)
	c := embedded(t)
	c.Subscriptions = []config.Subscription{{Name: "bills", Group: "billing", Topic: "orders", Handler: handler.URL, Retry: config.SubscriptionRetry{MaxAttempts: 2, Initial: config.Millisecond, Max: config.Millisecond}}}
	r := start(t, c)
	for _, body := range []string{"a1", "b1", "c1", "a2", "b2", "c2", "a3"} {
		r.post("orders", body, "wait=60")
	}
	want := map[string]int{"rejected: 422": 3, "out of attempts: 500": 2}
	eventually(t, "five are dead", func() bool { return equalJSON(r.causes(), want) })
	if err := r.end(); err != nil {
		t.Error(err)
	}

	r = start(t, c)
	if got := r.causes(); !equalJSON(got, want) {
		t.Errorf("after a restart: %v", got)
	}
	metric := func(what string) func() bool {
		return func() bool {
			_, metrics := get(t, "http://"+r.side.Addresses().Health+"/metrics")
			return strings.Contains(metrics, what)
		}
	}
	eventually(t, "the metric counts five", metric(`remora_deliver_dead_letters{subscription="bills"} 5`))
	eventually(t, "the metric has an age", metric(`remora_deliver_dead_letters_oldest_timestamp_seconds{subscription="bills"} 1`))
	handler.now(func(string) int { return 0 })
	if n := r.changed("redrive", `{"filter":{"cause":"rejected: 422"}}`); n != 3 {
		t.Errorf("%d are redriven", n)
	}
	eventually(t, "three are handled", func() bool { return slices.Equal(handler.called(), []string{"a1 1", "a2 1", "a3 1"}) })
	if got := r.causes(); !equalJSON(got, map[string]int{"out of attempts: 500": 2}) {
		t.Errorf("after the redrive: %v", got)
	}
	if n := r.changed("discard", `{"filter":{"all":true}}`); n != 2 || len(r.causes()) != 0 {
		t.Errorf("%d are discarded, and %v are left", n, r.causes())
	}
	if err := r.end(); err != nil {
		t.Error(err)
	}

	r = start(t, c)
	eventually(t, "the metric counts none", metric(`remora_deliver_dead_letters{subscription="bills"} 0`))
	if metric("remora_deliver_dead_letters_oldest")() {
		t.Error("the oldest of none has an age")
	}
	r.post("orders", "c3", "wait=60")
	eventually(t, "a new one is handled", func() bool { return slices.Contains(handler.called(), "c3 1") })
	if got := handler.called(); len(got) != 4 || len(r.causes()) != 0 {
		t.Errorf("calls %v, dead %v", got, r.causes())
	}
	if err := r.end(); err != nil {
		t.Error(err)
	}
}

// TestDeadLettersOfABroadcastingGroup: such a sidecar has a group of its own, whose
// dead letters are found under the configured name too.
func TestDeadLettersOfABroadcastingGroup(t *testing.T) {
	handler := newPicky(t, func(string) int { return 422 })
	c := embedded(t)
	c.Subscriptions = []config.Subscription{{Name: "bills", Group: "billing", Topic: "orders", Handler: handler.URL, Broadcast: true}}
	r := start(t, c)
	r.post("orders", "a", "wait=60")
	eventually(t, "it is dead", func() bool { return equalJSON(r.causes(), map[string]int{"rejected: 422": 1}) })
	handler.now(func(string) int { return 0 })
	if n := r.changed("redrive", `{"filter":{"all":true}}`); n != 1 || len(r.causes()) != 0 {
		t.Errorf("%d are redriven, %v are left", n, r.causes())
	}
	eventually(t, "it is handled", func() bool { return slices.Equal(handler.called(), []string{"a 1"}) })
	if err := r.end(); err != nil {
		t.Error(err)
	}
}
