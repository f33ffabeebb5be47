package sidecar_test

import (
	"strings"
	"testing"
	"time"

	"github.com/remora-mq/remora/config"
)

// TestWindowOfASubscription: marks of each subscription last for its own window, in
// one store, whichever of them is the longer.
func TestWindowOfASubscription(t *testing.T) {
	brief, usual, longer := handling(t), handling(t), handling(t)
	c := embedded(t)
	c.Subscriptions = []config.Subscription{
		{Name: "brief", Topic: "orders", Handler: brief.URL, Timeout: 3 * config.Second, Dedupe: config.SubscriptionDedupe{Window: 3 * config.Second}},
		{Name: "usual", Topic: "orders", Handler: usual.URL},
		{Name: "longer", Topic: "orders", Handler: longer.URL, Dedupe: config.SubscriptionDedupe{Window: 48 * config.Hour}},
	}
	r := start(t, c)
	before := time.Now().Add(-time.Minute)
	r.post("orders", "a", "wait=60")
	for _, h := range []*handled{brief, usual, longer} {
		h.await(t, 1)
	}
	eventually(t, "all is acked", func() bool {
		_, status := r.subscription()
		return status.Subscriptions[0].Held+status.Subscriptions[1].Held+status.Subscriptions[2].Held == 0
	})
	time.Sleep(4500 * time.Millisecond) // longer than the brief window, on the clock of the store
	for name, window := range map[string]string{"brief": "3s", "usual": "24h", "longer": "48h"} {
		if done := r.reset(name, before, false, 200); done.Repeats != 1 || done.Dedupe.Window != window {
			t.Errorf("reset of %s: %+v", name, done)
		}
	}
	if got := brief.await(t, 1); got != "a" {
		t.Errorf("past its window: %q", got)
	}
	eventually(t, "the others ack a repeat", func() bool {
		_, metrics := get(t, "http://"+r.side.Addresses().Health+"/metrics")
		return strings.Contains(metrics, `remora_acks_total{reason="repeat",subscription="usual"} 1`) &&
			strings.Contains(metrics, `remora_acks_total{reason="repeat",subscription="longer"} 1`) &&
			strings.Contains(metrics, "dedupe_window_seconds 172800")
	})
}
