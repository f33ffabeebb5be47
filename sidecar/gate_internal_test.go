package sidecar

import (
	"testing"

	"github.com/remora-mq/remora/config"
)

// TestMarksTakeNoPlaceAmongTheCalls: the gate bounds the calls; what it has besides
// may write its marks.
func TestMarksTakeNoPlaceAmongTheCalls(t *testing.T) {
	for store, want := range map[string]int{config.DedupeOff: 16, config.DedupeLocal: 48, config.DedupeRedis: 48, config.DedupeSQL: 48} {
		c := config.Subscription{Concurrency: 16, Dedupe: config.SubscriptionDedupe{Store: store}}
		if got := deliveries(c); got != want {
			t.Errorf("%s: %d deliveries at a time, want %d", store, got, want)
		}
	}
}
