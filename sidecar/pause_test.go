package sidecar_test

import (
	"context"
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/remora-mq/remora/config"
	"github.com/remora-mq/remora/sidecar"
)

// operate sends a request to the admin listener.
func (r *running) operate(method, path, body string, answer any) (status int) {
	r.t.Helper()
	ctx, cancel := context.WithTimeout(r.t.Context(), 60*time.Second)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, method, "http://"+r.side.Addresses().Admin+path, strings.NewReader(body))
	if err != nil {
		r.t.Fatal(err)
	}
	req.Header.Set("Content-Type", "application/json")
	res, err := client.Do(req)
	if err != nil {
		r.t.Fatal(err)
	}
	defer res.Body.Close()
	text, err := io.ReadAll(res.Body)
	if err == nil && answer != nil {
		err = json.Unmarshal(text, answer)
	}
	if err != nil {
		r.t.Fatalf("%s %s: %v: %s", method, path, err, text)
	}
	return res.StatusCode
}

// subscription tells of the first one, from the status.
func (r *running) subscription() (sidecar.Subscription, sidecar.Status) {
	r.t.Helper()
	var status sidecar.Status
	if got := r.operate("GET", "/v1/status", "", &status); got != 200 || len(status.Subscriptions) == 0 {
		r.t.Fatalf("status: %d, %d subscriptions", got, len(status.Subscriptions))
	}
	return status.Subscriptions[0], status
}

// eventually waits for what other goroutines bring about.
func eventually(t *testing.T, what string, is func() bool) {
	t.Helper()
	for end := time.Now().Add(time.Minute); !is(); time.Sleep(10 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("not in a minute: %s", what)
		}
	}
}

// TestPauseSurvivesARestart: a paused subscription gets no call, before and after a
// restart; it is shown and makes the sidecar degraded, not unready. Resumed, it gets
// what came meanwhile, as a first attempt.
func TestPauseSurvivesARestart(t *testing.T) {
	var calls atomic.Int64
	var attempt atomic.Value
	handler := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		attempt.Store(r.Header.Get("MQ-Attempt"))
		calls.Add(1)
	}))
	defer handler.Close()
	c := embedded(t)
	c.Subscriptions = []config.Subscription{{Name: "billing", Topic: "orders", Handler: handler.URL}}
	r := start(t, c)
	r.post("orders", "one", "wait=60")
	eventually(t, "the first message is handled", func() bool { return calls.Load() == 1 })
	var now sidecar.Subscription
	if status := r.operate("POST", "/v1/subscriptions/billing/pause", "", &now); status != 200 || now.State != "paused" {
		t.Fatalf("pause: %d, %+v", status, now)
	}
	for _, body := range []string{"two", "three"} {
		r.post("orders", body, "wait=60")
	}
	eventually(t, "both are held", func() bool { one, _ := r.subscription(); return one.Held == 2 })
	paused := now.HeldUp[0].Since
	if err := r.end(); err != nil {
		t.Error(err)
	}

	r = start(t, c)
	eventually(t, "both are held again", func() bool { one, _ := r.subscription(); return one.Held == 2 })
	one, status := r.subscription()
	if one.State != "paused" || !one.HeldUp[0].Since.Equal(paused) || one.InFlight != 0 {
		t.Errorf("after a restart: %+v", one)
	}
	if !status.Ready || strings.Join(status.Degraded, " ") != "subscription-paused" {
		t.Errorf("ready: %t, degraded: %v", status.Ready, status.Degraded)
	}
	if _, metrics := get(t, "http://"+r.side.Addresses().Health+"/metrics"); !strings.Contains(metrics, `remora_deliver_held_up{cause="paused",subscription="billing"} 1`) {
		t.Error("the metric does not tell")
	}
	if calls.Load() != 1 {
		t.Errorf("%d calls while paused", calls.Load()-1)
	}
	if status := r.operate("POST", "/v1/subscriptions/nobody/pause", "", nil); status != 404 {
		t.Errorf("pause of none: %d", status)
	}
	if status := r.operate("POST", "/v1/subscriptions/billing/resume", "", &now); status != 200 || now.State != "running" {
		t.Errorf("resume: %d, %+v", status, now)
	}
	eventually(t, "both are handled", func() bool { return calls.Load() == 3 })
	if attempt.Load() != "1" {
		t.Errorf("attempt %v", attempt.Load())
	}
	if _, status := r.subscription(); len(status.Degraded) != 0 {
		t.Errorf("resumed, and degraded: %v", status.Degraded)
	}
	if err := r.end(); err != nil {
		t.Error(err)
	}
}

// TestPausedPull: who pulls a paused subscription is told that there is none, and why.
func TestPausedPull(t *testing.T) {
	c := embedded(t)
	c.Subscriptions = []config.Subscription{{Name: "pulled", Topic: "orders"}}
	r := start(t, c)
	r.operate("POST", "/v1/subscriptions/pulled/pause", "", nil)
	r.post("orders", "one", "wait=60")
	if status := r.ask("/v1/subscriptions/pulled/receive", `{"wait":"100ms"}`, nil); status != 204 {
		t.Errorf("receive while paused: %d", status)
	}
	r.operate("POST", "/v1/subscriptions/pulled/resume", "", nil)
	got := r.receive("60s")
	if status := r.ask("/v1/deliveries/"+got.ID+"/ack", "", nil); status != 200 || got.Message.Attempt != 1 {
		t.Errorf("ack: %d, attempt %d", status, got.Message.Attempt)
	}
	if err := r.end(); err != nil {
		t.Error(err)
	}
}

// TestPausedTopicSurvivesARestart: nothing of a paused topic reaches the broker, before and
// after a restart; it is accepted and shown, and makes the sidecar degraded, not unready.
func TestPausedTopicSurvivesARestart(t *testing.T) {
	c := embedded(t)
	r := start(t, c)
	var now sidecar.Topic
	if status := r.operate("POST", "/v1/topics/orders/pause", "", nil); status != 404 {
		t.Errorf("pause before the first message: %d", status)
	}
	r.post("orders", "one", "wait=60")
	if status := r.operate("POST", "/v1/topics/orders/pause", "", &now); status != 200 || now.State != "paused" || now.HeldUp[0].Since.IsZero() {
		t.Fatalf("pause: %d, %+v", status, now)
	}
	paused := now.HeldUp[0].Since
	if status, _ := r.post("orders", "two", "wait=100ms"); status != 202 {
		t.Errorf("published to a paused topic: %d", status)
	}
	if err := r.end(); err != nil {
		t.Error(err)
	}

	r = start(t, c)
	if status := r.operate("POST", "/v1/topics/orders/pause", "", &now); status != 200 || !now.HeldUp[0].Since.Equal(paused) || now.Pending != 1 {
		t.Errorf("paused again: %d, %+v", status, now)
	}
	var status sidecar.Status
	r.operate("GET", "/v1/status", "", &status)
	if p := status.Forwarder.Paused; !status.Ready || strings.Join(status.Degraded, " ") != "topic-paused" || len(p) != 1 || p[0].Topic != "orders" || !p[0].Since.Equal(paused) {
		t.Errorf("%+v, degraded %v", status.Forwarder, status.Degraded)
	}
	if status.Spool.DrainSeconds == nil || *status.Spool.DrainSeconds != 0 || status.Spool.KeptBack != 1 || status.Spool.OldestUnconfirmed != nil {
		t.Errorf("%+v", status.Spool)
	}
	if _, metrics := get(t, "http://"+r.side.Addresses().Health+"/metrics"); !strings.Contains(metrics, `remora_topic_paused{topic="orders"} 1`) || !strings.Contains(metrics, `remora_degraded{reason="topic-paused"} 1`) {
		t.Error("the metrics do not tell")
	}
	if status := r.operate("POST", "/v1/topics/orders/resume", "", &now); status != 200 || now.State != "running" || len(now.HeldUp) > 0 {
		t.Errorf("resume: %d, %+v", status, now)
	}
	eventually(t, "the message is confirmed", func() bool {
		var all struct{ Items []sidecar.Topic }
		r.operate("GET", "/v1/topics", "", &all)
		return len(all.Items) == 1 && all.Items[0].Held == 0 && all.Items[0].InSpool.Held() == 0
	})
	status = sidecar.Status{}
	if r.operate("GET", "/v1/status", "", &status); len(status.Degraded) != 0 {
		t.Errorf("resumed, and degraded: %v", status.Degraded)
	}
	if err := r.end(); err != nil {
		t.Error(err)
	}
}
