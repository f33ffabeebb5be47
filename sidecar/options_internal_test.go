package sidecar

import (
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/remora-mq/remora/ackgate"
	"github.com/remora-mq/remora/broker"
	"github.com/remora-mq/remora/config"
	"github.com/remora-mq/remora/forwarder"
	"github.com/remora-mq/remora/internal/backoff"
	"github.com/remora-mq/remora/message"
	"github.com/remora-mq/remora/push"
	"github.com/remora-mq/remora/spool"
)

// configured is a sidecar that was not started, with the configuration of a text.
func configured(t *testing.T, text string) *Sidecar {
	t.Helper()
	loaded, err := config.Load(config.Sources{Data: []byte(text)})
	if err != nil {
		t.Fatal(err)
	}
	return &Sidecar{cfg: loaded.Config, version: "test", log: slog.New(slog.DiscardHandler)}
}

// Each setting of a subscription comes to the gate, and to the broker.
func TestSubscriptionIsAsConfigured(t *testing.T) {
	s := configured(t, `
broker: {type: rocketmq, rocketmq: {name_servers: ["10.0.0.2:9876", "10.0.0.1:9876"]}}
drain: {timeout: 10s}
dedupe: {redis: {url_file: /never/read}}
subscriptions:
  - name: billing
    group: bills
    topic: orders
    handler: http://127.0.0.1:8080/on-order
    filter: {tags: [created, paid]}
    from: 2026-01-02T03:04:05Z
    ordered: true
    concurrency: 3
    timeout: 7s
    max_hold: 4m
    max_held: 9
    retry: {max_attempts: 5, initial: 11ms, max: 13s, on_exhausted: block}
    dedupe: {store: redis, key: "property:order_id+tag", on_error: pass}
  - {name: another, topic: orders}
memory: {deliver: 24MiB}
`)
	c := s.cfg.Subscriptions[0].WithDefaults(s.cfg.Dedupe.Window)
	got, err := s.gateOptions(c)
	if err != nil {
		t.Fatal(err)
	}
	got.Died = nil // functions have no equals
	key, err := ackgate.ParseKeyRule("property:order_id+tag")
	if err != nil {
		t.Fatal(err)
	}
	want := ackgate.Options{
		Subscription: "billing", Scope: "10.0.0.1:9876,10.0.0.2:9876/orders/bills", Key: key, Store: "redis", Pass: true,
		Concurrency: 3, Timeout: 7 * time.Second, MaxAttempts: 5, Ordered: true, Block: true,
		Retry: backoff.Policy{Initial: 11 * time.Millisecond, Max: 13 * time.Second}, MaxHold: 4 * time.Minute, MaxHeld: 9,
		Grace: 5 * time.Second, // half of the drain
	}
	if is, shall := fmt.Sprintf("%+v", got), fmt.Sprintf("%+v", want); is != shall {
		t.Errorf("the gate gets\n%s\nwant\n%s", is, shall)
	}
	sub, err := s.brokerSubscription(c)
	wantSub := broker.Subscription{
		Name: "billing", Topic: "orders", Group: "bills", Tags: []string{"created", "paid"}, Ordered: true, Concurrency: 9, Prefetch: 12 << 20,
		From: broker.From{Time: time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)},
	}
	if err != nil || !reflect.DeepEqual(sub, wantSub) {
		t.Errorf("the broker gets\n%+v, %v\nwant\n%+v", sub, err, wantSub)
	}
	s.cfg.Drain.Timeout = 0
	if got, err = s.gateOptions(c); err != nil || got.Grace >= 0 {
		t.Errorf("without a drain calls have %v to end, %v", got.Grace, err)
	}
}

// So do those of its handler.
func TestHandlerIsAsConfigured(t *testing.T) {
	app := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("User-Agent") != "remora/test" {
			t.Errorf("it is called by %q", r.Header.Get("User-Agent"))
		}
		w.WriteHeader(http.StatusNoContent)
	}))
	defer app.Close()
	s := configured(t, "broker: {type: embedded}")
	c := config.Subscription{Name: "billing", Topic: "orders", Handler: app.URL}.WithDefaults(config.Hour)
	for want, acks := range map[push.Disposition][]int{push.Retry: {200}, push.Done: {200, 204}} {
		c.AckStatuses = acks
		h, err := s.handler(c)
		if err != nil {
			t.Fatal(err)
		}
		if a := h.Deliver(t.Context(), &push.Call{Delivery: &message.Delivery{Identity: "a"}}); a.Disposition != want {
			t.Errorf("204, with ack_statuses %v: %v, %v", acks, a.Disposition, a.Err)
		}
		if err := h.(*push.Client).Close(); err != nil {
			t.Error(err)
		}
	}
	c.Handler = "http://10.0.0.1/on-order"
	for _, remote := range []bool{false, true} {
		c.Remote = remote
		if _, err := s.handler(c); (err == nil) != remote {
			t.Errorf("a handler elsewhere, remote: %t: %v", remote, err)
		}
	}
	c.Handler = ""
	if h, err := s.handler(c); h != nil || err != nil {
		t.Errorf("of messages that are pulled: %v, %v", h, err)
	}
}

// Each setting of the forwarder comes to it.
func TestForwarderIsAsConfigured(t *testing.T) {
	s := configured(t, `
broker: {type: embedded}
forwarder:
  concurrency: 5
  batch: {max_messages: 7, max_bytes: 3MiB}
  attempt_timeout: 9s
  retry: {initial: 11ms, max: 13s}
  rate: {orders: 120/m}
  ordering: {failover_after: 17s, on_dead: block}
topics: {priority: {orders: 4}}
`)
	want := forwarder.Options{
		Concurrency: 5, MaxMessages: 7, MaxBytes: 3 << 20, AttemptTimeout: 9 * time.Second,
		Retry: backoff.Policy{Initial: 11 * time.Millisecond, Max: 13 * time.Second},
		Rates: map[string]float64{"orders": 2}, Priorities: map[string]int{"orders": 4}, BlockOnDead: true, FailoverAfter: 17 * time.Second,
	}
	if got := s.forwarderOptions(); !reflect.DeepEqual(got, want) {
		t.Errorf("it gets\n%+v\nwant\n%+v", got, want)
	}
}

// What the configuration allows as the URL of adopted transactions is what a spool keeps.
func TestLongestCheckURLIsOne(t *testing.T) {
	cfg := config.Default()
	for n, refused := range map[int]bool{spool.MaxCheckURL: false, spool.MaxCheckURL + 1: true} {
		const head = "http://127.0.0.1:1/"
		cfg.Transactions.AdoptedCheckURL = head + strings.Repeat("x", n-len(head))
		if err := cfg.Validate(); (err != nil && strings.Contains(err.Error(), "are the most")) != refused {
			t.Errorf("%d bytes: %v", n, err)
		}
	}
}
