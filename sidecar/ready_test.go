package sidecar_test

import (
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/remora-mq/remora/config"
)

// TestReadinessOfTheApplication: while its readiness says no, or is not there, an
// application gets no call, the sidecar is degraded and ready, and says why; when it
// says yes what has waited comes as a first attempt.
func TestReadinessOfTheApplication(t *testing.T) {
	var calls, ready atomic.Int64
	var attempt atomic.Value
	app := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch {
		case r.URL.Path == "/on-order":
			attempt.Store(r.Header.Get("MQ-Attempt"))
			calls.Add(1)
		case ready.Load() == 0:
			http.Redirect(w, r, "/on-order", http.StatusFound) // not followed, and no yes
		}
	}))
	defer app.Close()
	c := embedded(t)
	c.Subscriptions = []config.Subscription{{Name: "billing", Topic: "orders", Handler: app.URL + "/on-order", Readiness: app.URL + "/ready"}}
	r := start(t, c)
	r.post("orders", "one", "wait=60")
	eventually(t, "it says why the message is held", func() bool {
		one, status := r.subscription()
		return one.Held == 1 && one.State == "not_ready" && strings.Contains(one.HeldUp[0].Detail, "302 Found") &&
			status.Ready && strings.Join(status.Degraded, " ") == "app-not-ready"
	})
	if calls.Load() != 0 {
		t.Errorf("%d calls of an application that is not ready", calls.Load())
	}
	ready.Store(1)
	eventually(t, "the message is handled", func() bool { return calls.Load() == 1 })
	if attempt.Load() != "1" {
		t.Errorf("attempt %v", attempt.Load())
	}
	eventually(t, "nothing is degraded", func() bool { _, status := r.subscription(); return len(status.Degraded) == 0 })
	if err := r.end(); err != nil {
		t.Error(err)
	}
}

// TestFailingHandlerIsShown: a handler that answers 500 to all is called few times
// for many messages, none is a dead letter, and it is shown.
func TestFailingHandlerIsShown(t *testing.T) {
	var calls, well atomic.Int64
	app := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		if calls.Add(1); well.Load() == 0 {
			w.WriteHeader(http.StatusInternalServerError)
		}
	}))
	defer app.Close()
	c := embedded(t)
	c.Subscriptions = []config.Subscription{{Name: "billing", Topic: "orders", Handler: app.URL, Concurrency: 8, Retry: config.SubscriptionRetry{Initial: 10 * config.Millisecond, Max: 20 * config.Millisecond}}}
	r := start(t, c)
	for range 40 {
		r.post("orders", "one", "")
	}
	eventually(t, "it is shown", func() bool {
		one, status := r.subscription()
		return one.State == "failing" && strings.Contains(one.HeldUp[0].Detail, "the last one with 500") &&
			status.Ready && strings.Join(status.Degraded, " ") == "handler-failing"
	})
	if _, metrics := get(t, "http://"+r.side.Addresses().Health+"/metrics"); !strings.Contains(metrics, `remora_deliver_held_up{cause="failing",subscription="billing"} 1`) ||
		strings.Contains(metrics, `remora_acks_total{reason="dead_letter"`) {
		t.Error("the metrics do not tell, or tell of dead letters")
	}
	well.Store(1)
	eventually(t, "all are handled", func() bool {
		_, metrics := get(t, "http://"+r.side.Addresses().Health+"/metrics")
		one, _ := r.subscription()
		return strings.Contains(metrics, `remora_acks_total{reason="handled",subscription="billing"} 40`) && one.State == "running"
	})
	if err := r.end(); err != nil {
		t.Error(err)
	}
}
