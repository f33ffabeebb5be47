package e2e

import (
	"context"
	"encoding/json"
	"strings"
	"testing"
	"time"
)

// retention is what /v1/status says of spool.retain.
type retention struct {
	Setting, For, Why string
	Keeps             bool
}

// TestRetentionIsDecidedByTheBroker: what a broker confirms before it is durable
// is kept for a resend, and what is durable is not; a name server that is not there
// keeps no sidecar from starting.
func TestRetentionIsDecidedByTheBroker(t *testing.T) {
	ctx := within(t, 3*time.Minute)
	broker := shared.Brokers[0]
	absent := newSidecar(t, "sidecar without a name server", "127.0.0.1:1", "")
	must(t, absent.Start())
	awaitRetention(ctx, t, absent, true, "the brokers cannot be asked how they flush: ")

	kept := newSidecar(t, "sidecar", nameServer(), "")
	must(t, kept.Start())
	awaitRetention(ctx, t, kept, true, broker.Name()+" answers SEND_OK before a slave has the message (brokerRole=ASYNC_MASTER)")
	for _, c := range [][3]string{{"inSyncReplicas", "2", "1"}, {"brokerRole", "SYNC_MASTER", "ASYNC_MASTER"}} {
		must(t, broker.UpdateConfig(c[0], c[1]))
		defer func() { must(t, broker.UpdateConfig(c[0], c[2])) }()
	}
	awaitRetention(ctx, t, kept, false, "SEND_OK of "+broker.Name()+" means on its disk and at a slave") // it looks again
	must(t, kept.Stop())
	must(t, absent.Stop())
}

// awaitRetention waits until the sidecar says so.
func awaitRetention(ctx context.Context, t *testing.T, s *sidecar, keeps bool, why string) {
	t.Helper()
	for last := ""; ; {
		page, err := s.Get(ctx, s.Addresses().Admin, "/v1/status")
		if err != nil {
			t.Fatalf("%v; last: %s", err, last)
		}
		var status struct{ Spool struct{ Retention retention } }
		must(t, json.Unmarshal(page, &status))
		last = string(page)
		if got := status.Spool.Retention; got.Keeps == keeps && strings.HasPrefix(got.Why, why) {
			if got.Setting != "auto" || keeps != (got.For == "10m") {
				t.Errorf("%+v", got)
			}
			return
		}
		select {
		case <-time.After(100 * time.Millisecond):
		case <-ctx.Done():
			t.Fatalf("it does not say that it keeps=%v because %s: %s", keeps, why, last)
		}
	}
}
