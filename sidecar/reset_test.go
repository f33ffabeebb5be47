package sidecar_test

import (
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/remora-mq/remora/config"
	"github.com/remora-mq/remora/sidecar"
)

// handled is an application that notes the bodies that it is called with.
type handled struct {
	*httptest.Server

	mu     sync.Mutex
	bodies []string
}

func handling(t *testing.T) *handled {
	t.Helper()
	h := &handled{}
	h.Server = httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		if err != nil {
			t.Error(err)
		}
		h.mu.Lock()
		defer h.mu.Unlock()
		h.bodies = append(h.bodies, string(body))
	}))
	t.Cleanup(h.Close)
	return h
}

// take returns what it was called with since, sorted.
func (h *handled) take() string {
	h.mu.Lock()
	defer h.mu.Unlock()
	slices.Sort(h.bodies)
	defer func() { h.bodies = nil }()
	return strings.Join(h.bodies, " ")
}

func (h *handled) await(t *testing.T, n int) string {
	t.Helper()
	eventually(t, fmt.Sprintf("%d calls", n), func() bool {
		h.mu.Lock()
		defer h.mu.Unlock()
		return len(h.bodies) >= n
	})
	return h.take()
}

func (r *running) reset(name string, to time.Time, dryRun bool, want int) (got sidecar.Reset) {
	r.t.Helper()
	body := fmt.Sprintf(`{"to":%q,"dry_run":%t}`, to.UTC().Format(time.RFC3339Nano), dryRun)
	if status := r.operate("POST", "/v1/subscriptions/"+name+"/reset", body, &got); status != want {
		r.t.Fatalf("reset of %s: %d, want %d", name, status, want)
	}
	return got
}

// halves publishes a and b, and c and d, and returns a time between.
func (r *running) halves(h *handled) time.Time {
	r.t.Helper()
	for _, body := range []string{"a", "b"} {
		r.post("orders", body, "wait=60")
	}
	h.await(r.t, 2)
	time.Sleep(20 * time.Millisecond) // the broker counts in milliseconds
	between := time.Now()
	time.Sleep(20 * time.Millisecond)
	for _, body := range []string{"c", "d"} {
		r.post("orders", body, "wait=60")
	}
	h.await(r.t, 2)
	return between
}

// TestReset: a dry run tells and changes nothing; a reset has what was stored since a
// time handled again, and no more; one into the future skips what waits. What the
// dedupe store has as done is not handled again, which is told. A pause stays.
func TestReset(t *testing.T) {
	again, once := handling(t), handling(t)
	c := embedded(t)
	c.Subscriptions = []config.Subscription{
		{Name: "again", Topic: "orders", Handler: again.URL, Dedupe: config.SubscriptionDedupe{Store: "off"}},
		{Name: "once", Topic: "orders", Handler: once.URL},
	}
	r := start(t, c)
	between := r.halves(again)
	once.await(t, 4)
	eventually(t, "all is acked", func() bool {
		one, status := r.subscription()
		return one.Held == 0 && status.Subscriptions[1].Held == 0
	})

	plan := r.reset("again", between, true, 200)
	if !plan.DryRun || plan.Repeats != 2 || plan.Skips != 0 || plan.Group != "again" || plan.Dedupe.Store != "off" || plan.Dedupe.Window != "" || len(plan.Members) != 0 {
		t.Errorf("dry run: %+v", plan)
	}
	if done := r.reset("again", between, false, 200); done.DryRun || done.Repeats != 2 {
		t.Errorf("reset: %+v", done)
	}
	if got := again.await(t, 2); got != "c d" {
		t.Errorf("handled again: %s", got)
	}
	if done := r.reset("once", between, false, 200); done.Repeats != 2 || done.Dedupe.Store != "local" || done.Dedupe.Window != "24h" {
		t.Errorf("reset of what is marked: %+v", done)
	}
	eventually(t, "what is marked is acked as a repeat", func() bool {
		_, metrics := get(t, "http://"+r.side.Addresses().Health+"/metrics")
		return strings.Contains(metrics, `remora_acks_total{reason="repeat",subscription="once"} 2`)
	})
	if got := once.take(); got != "" {
		t.Errorf("marked, and handled again: %s", got)
	}

	r.operate("POST", "/v1/subscriptions/again/pause", "", nil)
	r.post("orders", "e", "wait=60")
	if skipped := r.reset("again", time.Now().Add(time.Hour), false, 200); skipped.Skips != 1 || skipped.Repeats != 0 {
		t.Errorf("into the future: %+v", skipped)
	}
	if one, _ := r.subscription(); one.State != "paused" {
		t.Errorf("after the reset it is %s", one.State)
	}
	r.operate("POST", "/v1/subscriptions/again/resume", "", nil)
	r.post("orders", "f", "wait=60")
	if got := again.await(t, 1); got != "f" {
		t.Errorf("handled after it skipped: %s", got)
	}
	if one, _ := r.subscription(); one.Start == nil || one.Start.GroupIsNew {
		t.Errorf("after a reset it began at %+v", one.Start)
	}
	if err := r.end(); err != nil {
		t.Error(err)
	}
}

// TestStartIsToldLoudly: a new group that skips messages is a warning with their
// number, in the log and in the status; so is one that is far behind.
func TestStartIsToldLoudly(t *testing.T) {
	h := handling(t)
	c := embedded(t)
	r := start(t, c)
	for _, body := range []string{"a", "b", "c"} {
		r.post("orders", body, "wait=60")
	}
	if err := r.end(); err != nil {
		t.Error(err)
	}
	c.Subscriptions = []config.Subscription{
		{Name: "latest", Topic: "orders", Handler: h.URL, From: "latest"},
		{Name: "first", Topic: "orders", Handler: h.URL},
	}
	r = start(t, c)
	h.await(t, 3)
	_, status := r.subscription()
	latest, first := status.Subscriptions[0].Start, status.Subscriptions[1].Start
	if latest == nil || !latest.GroupIsNew || latest.Skipped != 3 || latest.Waiting != 0 || latest.From != "latest" {
		t.Errorf("latest began at %+v", latest)
	}
	if first == nil || !first.GroupIsNew || first.Skipped != 0 || first.Waiting != 3 || first.WaitingForDay != 0 {
		t.Errorf("first began at %+v", first)
	}
	for _, want := range []string{"skips 3 messages that are kept (from: latest)", "subscription begins with a new group"} {
		if !strings.Contains(r.log.String(), want) {
			t.Errorf("the log does not say %q", want)
		}
	}
	if err := r.end(); err != nil {
		t.Error(err)
	}
}
